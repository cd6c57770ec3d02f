"""What a hostile reading of the coordinator found, each with the case that broke it."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Connection

from muniflow.errors import Unavailable
from muniflow.model.messages import Events, Settled
from muniflow.model.topology import BATCHES, EVENTS
from muniflow_coordinator.coordinator import Coordinator
from muniflow_coordinator.state.sql import SqlState

if TYPE_CHECKING:
    from tests.unit.coordinator.conftest import CoordinatorHarness


def waits(coordinator: Coordinator) -> list[str]:
    """Why the lists of new batches cannot be read."""
    return [intake.waiting_for for intake in coordinator.view.intakes.values() if intake.waiting_for]


@pytest.fixture
def lost_answers(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> list[int]:
    """Of many transactions the connection breaks after the commit and before its answer comes."""
    writes = [0]
    chance = random.Random(request.node.name)  # noqa: S311 - not for secrets
    write = SqlState._write

    @contextmanager
    def unsure(self: SqlState, commit: str | None) -> Iterator[Connection]:
        writes[0] += 1
        unlucky = chance.random() < 0.6
        with write(self, commit) as connection:
            yield connection
        if unlucky:
            raise Unavailable("state database", "the connection was cut")

    monkeypatch.setattr(SqlState, "_write", unsure)
    monkeypatch.setattr("muniflow_coordinator.retry_queue.FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr("muniflow_coordinator.retry_queue.LONGEST_PAUSE_S", 0.001)
    return writes


def test_a_commit_whose_answer_is_lost_counts_once(
    harness: "CoordinatorHarness", lost_answers: list[int], answers: dict[str, Any]
) -> None:
    harness.pictures(40)
    harness.answer = lambda task: answers["failed" if task.image % 4 == 0 and task.run == 0 else "all_done"](task)
    harness.start(window_images=6)
    harness.submit(operations=[["copy", 2]])
    notice = harness.finish()
    assert (notice.state, notice.done, notice.failed) == ("partial", 30, 10)
    harness.notices.clear()
    harness.command("reopen")
    notice = harness.finish()
    assert (notice.state, notice.done, notice.failed) == ("done", 40, 0)
    assert lost_answers[0] > 20


def test_cancelling_counts_once_when_its_answer_is_lost(harness: "CoordinatorHarness", lost_answers: list[int]) -> None:
    harness.start_with_held(30, 3, window_images=3)
    harness.command("cancel")
    harness.until(lambda: harness.depth("muniflow.control") == 0)
    harness.let_go()
    notice = harness.finish()
    assert (notice.state, notice.done, notice.cancelled) == ("cancelled", 3, 27)
    assert lost_answers[0] > 4


def test_a_batch_is_not_given_up_with_its_message(harness: "CoordinatorHarness") -> None:
    """The broker dead-letters a message after 20 connections; by then the batch is the coordinator's."""
    (harness.root / "source").rename(harness.root / "away")
    coordinator = harness.start()
    harness.submit()
    harness.until(lambda: waits(coordinator))
    harness.crash()
    queue = harness.broker.queue(BATCHES)
    assert queue is not None
    harness.until(lambda: queue.ready)
    queue.ready.clear()
    (harness.root / "away").rename(harness.root / "source")
    harness.pictures(3)
    harness.start()
    assert harness.finish().done == 3


def test_a_batch_taken_up_again_is_refused_when_it_is_wrong(harness: "CoordinatorHarness") -> None:
    (harness.root / "source").rename(harness.root / "away")
    coordinator = harness.start()
    harness.submit()
    harness.until(lambda: waits(coordinator))
    assert "is its volume mounted" in waits(coordinator)[0]
    harness.crash()
    queue = harness.broker.queue(BATCHES)
    assert queue is not None
    harness.until(lambda: queue.ready)
    queue.ready.clear()
    (harness.root / "source" / "in").mkdir(parents=True)
    again = harness.start()
    notice = harness.finish()
    assert (notice.state, notice.faults[0]["place"]) == ("rejected", "source")
    assert harness.state
    assert harness.state.find("b") is None
    assert again.view.intakes == {}


@pytest.mark.parametrize("step", [2**80, -1, 7])
def test_an_event_of_an_impossible_step_harms_nothing(harness: "CoordinatorHarness", step: int) -> None:
    """It was a number that no database takes: the process died of it, again and again."""
    harness.pictures(1)
    harness.hold = True
    harness.start()
    harness.submit(operations=[["copy", 2]])
    harness.until(lambda: harness.held)
    wrong = Settled(batch="b", image=0, lineage=((0, 2),), reason="a \0 b", step=step)
    right = wrong.model_copy(update={"step": 0})
    harness.publish(EVENTS, Events(settled=(wrong, right)).to_bytes())
    harness.let_go()
    notice = harness.finish()
    assert notice.failed == 1
    assert len(harness.report()["images"][0]["reasons"]) == 1


def test_late_events_between_two_slices_do_not_touch_the_next_run(
    harness: "CoordinatorHarness", monkeypatch: pytest.MonkeyPatch, answers: dict[str, Any]
) -> None:
    """Their intermediates would have been removed while the next run of the image uses them."""
    monkeypatch.setattr("muniflow_coordinator.handlers.commands.SLICE", 1)
    harness.pictures(4)
    harness.answer = answers["failed"]
    coordinator = harness.start()
    harness.submit(operations=[["copy", 1], ["paste", 1]])
    harness.finish()
    forgotten: list[str] = []
    forget = coordinator.view.cleaner.forget

    def noted(batch_id: str) -> bool:
        forgotten.append(batch_id)
        return forget(batch_id)

    monkeypatch.setattr(coordinator.view.cleaner, "forget", noted)
    harness.answer = answers["all_done"]
    harness.notices.clear()
    harness.command("reopen")
    assert harness.finish().state == "done"
    assert len(forgotten) >= 4, "before each slice"


def test_who_is_followed_stops_at_its_next_write_and_harms_nothing(harness: "CoordinatorHarness") -> None:
    harness.pictures(10)
    harness.hold = True
    coordinator = harness.start()
    harness.submit()
    harness.until(lambda: len(harness.held) == 10)
    assert harness.state
    row = harness.state.find("b")
    assert row is not None
    first = harness.state
    from muniflow_coordinator.state.opening import open_state

    second = open_state(f"sqlite:///{harness.root / 'state.sqlite'}")
    second.take_over("another one")
    harness.let_go()
    harness.until(lambda: harness.given_up)
    assert "another coordinator has taken over" in harness.given_up[0]
    found = second.find("b")
    assert found is not None
    assert found.counts.done == 0
    coordinator.halt()
    assert len(harness.given_up) == 1
    second.close()
    assert not first.mine()
    harness.crash()
    harness.start()
    assert harness.finish().done == 10


def test_a_database_that_is_away_for_long_lets_the_deliveries_go(
    harness: "CoordinatorHarness", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("muniflow_coordinator.retry_queue.MAX_WAIT_S", 0.3)
    monkeypatch.setattr("muniflow_coordinator.retry_queue.LONGEST_PAUSE_S", 0.1)
    harness.pictures(1)
    harness.start()

    @contextmanager
    def away(_self: SqlState, _commit: str | None) -> Iterator[Connection]:
        raise Unavailable("state database", "a test took it away")
        yield

    monkeypatch.setattr(SqlState, "_write", away)
    harness.submit()
    harness.until(lambda: harness.given_up)
    assert "a test took it away" in harness.given_up[0]
