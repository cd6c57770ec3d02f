"""What a hostile reading of the coordinator found, each with the case that broke it."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Connection

from muniflow.errors import Unavailable
from muniflow.messages import Events, Settled
from muniflow.topology import BATCHES, EVENTS
from muniflow_coordinator.state.sql import SqlState

if TYPE_CHECKING:
    from tests.unit.coordinator.conftest import World


@pytest.fixture
def lost_answers(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> list[int]:
    """Of many transactions the connection breaks after the commit and before its answer comes."""
    writes = [0]
    chance = random.Random(request.node.name)  # noqa: S311 - not for secrets
    write = SqlState._write

    @contextmanager
    def unsure(self: SqlState) -> Iterator[Connection]:
        writes[0] += 1
        unlucky = chance.random() < 0.6
        with write(self) as connection:
            yield connection
        if unlucky:
            raise Unavailable("state database", "the connection was cut")

    monkeypatch.setattr(SqlState, "_write", unsure)
    monkeypatch.setattr("muniflow_coordinator.patience.FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr("muniflow_coordinator.patience.LONGEST_PAUSE_S", 0.001)
    return writes


def test_a_commit_whose_answer_is_lost_counts_once(
    world: "World", lost_answers: list[int], answers: dict[str, Any]
) -> None:
    world.pictures(40)
    world.answer = lambda task: answers["failed" if task.image % 4 == 0 and task.run == 0 else "all_done"](task)
    world.start(window_images=6)
    world.submit(operations=[["copy", 2]])
    notice = world.finish()
    assert (notice.state, notice.done, notice.failed) == ("partial", 30, 10)
    world.notices.clear()
    world.command("reopen")
    notice = world.finish()
    assert (notice.state, notice.done, notice.failed) == ("done", 40, 0)
    assert lost_answers[0] > 20


def test_cancelling_counts_once_when_its_answer_is_lost(world: "World", lost_answers: list[int]) -> None:
    world.start_with_held(30, 3, window_images=3)
    world.command("cancel")
    world.until(lambda: world.depth("muniflow.control") == 0)
    world.let_go()
    notice = world.finish()
    assert (notice.state, notice.done, notice.cancelled) == ("cancelled", 3, 27)
    assert lost_answers[0] > 4


def test_a_batch_is_not_given_up_with_its_message(world: "World") -> None:
    """The broker dead-letters a message after 20 connections; by then the batch is the coordinator's."""
    (world.root / "source").rename(world.root / "away")
    coordinator = world.start()
    world.submit()
    world.until(lambda: coordinator.core.intake_waits)
    world.crash()
    queue = world.broker.queue(BATCHES)
    assert queue is not None
    world.until(lambda: queue.ready)
    queue.ready.clear()
    (world.root / "away").rename(world.root / "source")
    world.pictures(3)
    world.start()
    assert world.finish().done == 3


def test_a_batch_taken_up_again_is_refused_when_it_is_wrong(world: "World") -> None:
    (world.root / "source").rename(world.root / "away")
    coordinator = world.start()
    world.submit()
    world.until(lambda: coordinator.core.intake_waits)
    assert "is its volume mounted" in coordinator.core.intake_waits["b"]
    world.crash()
    queue = world.broker.queue(BATCHES)
    assert queue is not None
    world.until(lambda: queue.ready)
    queue.ready.clear()
    (world.root / "source" / "in").mkdir(parents=True)
    again = world.start()
    notice = world.finish()
    assert (notice.state, notice.faults[0]["place"]) == ("rejected", "source")
    assert world.state
    assert world.state.find("b") is None
    assert again.core.intake_waits == {}


@pytest.mark.parametrize("step", [2**80, -1, 7])
def test_an_event_of_an_impossible_step_harms_nothing(world: "World", step: int) -> None:
    """It was a number that no database takes: the process died of it, again and again."""
    world.pictures(1)
    world.hold = True
    world.start()
    world.submit(operations=[["copy", 2]])
    world.until(lambda: world.held)
    wrong = Settled(batch="b", image=0, lineage=((0, 2),), reason="a \0 b", step=step)
    right = wrong.model_copy(update={"step": 0})
    world.publish(EVENTS, Events(settled=(wrong, right)).to_bytes())
    world.let_go()
    notice = world.finish()
    assert notice.failed == 1
    assert len(world.report()["images"][0]["reasons"]) == 1


def test_late_events_between_two_slices_do_not_touch_the_next_run(
    world: "World", monkeypatch: pytest.MonkeyPatch, answers: dict[str, Any]
) -> None:
    """Their intermediates would have been removed while the next run of the image uses them."""
    monkeypatch.setattr("muniflow_coordinator.commands.SLICE", 1)
    world.pictures(4)
    world.answer = answers["failed"]
    coordinator = world.start()
    world.submit(operations=[["copy", 1], ["paste", 1]])
    world.finish()
    forgotten: list[str] = []
    forget = coordinator.core.cleaner.forget

    def noted(batch_id: str) -> bool:
        forgotten.append(batch_id)
        return forget(batch_id)

    monkeypatch.setattr(coordinator.core.cleaner, "forget", noted)
    world.answer = answers["all_done"]
    world.notices.clear()
    world.command("reopen")
    assert world.finish().state == "done"
    assert len(forgotten) >= 4, "before each slice"


def test_who_is_followed_stops_at_its_next_write_and_harms_nothing(world: "World") -> None:
    world.pictures(10)
    world.hold = True
    coordinator = world.start()
    world.submit()
    world.until(lambda: len(world.held) == 10)
    assert world.state
    row = world.state.find("b")
    assert row is not None
    first = world.state
    from muniflow_coordinator.state.opening import open_state

    second = open_state(f"sqlite:///{world.root / 'state.sqlite'}")
    second.take_over("another one")
    world.let_go()
    world.until(lambda: world.given_up)
    assert "another coordinator has taken over" in world.given_up[0]
    found = second.find("b")
    assert found is not None
    assert found.counts.done == 0
    coordinator.halt()
    assert len(world.given_up) == 1
    second.close()
    assert not first.mine()
    world.crash()
    world.start()
    assert world.finish().done == 10


def test_a_database_that_is_away_for_long_lets_the_deliveries_go(
    world: "World", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("muniflow_coordinator.patience.MOST_WAIT_S", 0.3)
    monkeypatch.setattr("muniflow_coordinator.patience.LONGEST_PAUSE_S", 0.1)
    world.pictures(1)
    world.start()

    @contextmanager
    def away(_self: SqlState) -> Iterator[Connection]:
        raise Unavailable("state database", "a test took it away")
        yield

    monkeypatch.setattr(SqlState, "_write", away)
    world.submit()
    world.until(lambda: world.given_up)
    assert "a test took it away" in world.given_up[0]
