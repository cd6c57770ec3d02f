"""The coordinator thrown away at every point of its work, and made again on the same database."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from muniflow.errors import Unavailable
from muniflow.model.messages import Events, Settled, Task
from muniflow.runtime.failpoints import PLACES, Failpoints
from muniflow.store.local import LocalStore

if TYPE_CHECKING:
    from tests.unit.coordinator.conftest import CoordinatorHarness

COORDINATOR_PLACES = [place for place in PLACES if place.startswith("coordinator.")]


class Killed(BaseException):
    """Stands for SIGKILL: no handler of the coordinator sees it."""


def kill_at(place: str, hit: int) -> Failpoints:
    hits = 0

    def count() -> None:
        nonlocal hits
        hits += 1
        if hits == hit:
            raise Killed

    return Failpoints({place: count})


def until_killed_or(harness: "CoordinatorHarness", condition: Callable[[], object]) -> bool:
    """Whether it was killed before `condition` held."""
    try:
        harness.until(condition)
    except Killed:
        return True
    return False


@pytest.mark.parametrize("hit", [1, 2, 5])
@pytest.mark.parametrize("place", [place for place in COORDINATOR_PLACES if place != "coordinator.after_report"])
def test_killed_at_any_point_it_goes_on_where_it_was(harness: "CoordinatorHarness", place: str, hit: int) -> None:
    harness.pictures(40)
    harness.start(kill_at(place, hit), window_images=6)
    harness.submit(wait=False, operations=[["copy", 2], ["paste", 2]])
    killed = until_killed_or(harness, lambda: harness.ended("b"))
    assert killed or hit > 1, "the place was never reached"
    harness.crash()
    harness.start(window_images=6)
    notice = harness.finish()
    assert (notice.state, notice.done, notice.total) == ("done", 40, 40)
    assert harness.report()["totals"]["outputs"] == 160
    row = harness.state.find("b") if harness.state else None
    assert row is not None
    assert (row.state, row.counts.pending) == ("done", 0)
    assert harness.state is not None
    assert harness.state.leaves(row.number) == []


def test_killed_after_every_single_event(harness: "CoordinatorHarness", answers: dict[str, Any]) -> None:
    """Eight leaves, one message each, a crash after each commit: the image settles with the eighth."""

    def one_by_one(task: Task) -> list[Events]:
        return [
            Events(settled=(Settled(batch="b", image=task.image, lineage=leaf),)) for leaf in answers["leaves_of"](task)
        ]

    harness.pictures(1)
    harness.answer = one_by_one
    harness.start()
    harness.hold = True
    harness.submit(operations=[["copy", 4], ["paste", 2]])
    harness.until(lambda: harness.held)
    task = Task.from_bytes(harness.held[0].body)
    for number, events in enumerate(one_by_one(task), start=1):
        harness.publish("muniflow.events", events.to_bytes())
        harness.until(lambda number=number: leaves_kept(harness) == number % 8)  # type: ignore[misc]
        harness.crash()
        harness.start()
    assert harness.finish().state == "done"


def test_a_tile_that_failed_before_more_was_done_is_still_failed_after_a_crash(harness: "CoordinatorHarness") -> None:
    """The database returns the part `0of2` before `0of2.1of2`, which was settled first."""
    harness.pictures(1)
    harness.hold = True
    harness.start()
    harness.submit(operations=[["copy", 2], ["paste", 2]])
    harness.until(lambda: harness.held)
    failed = Settled(batch="b", image=0, lineage=((0, 2), (1, 2)), step=1, reason="too small")
    parts = [Settled(batch="b", image=0, lineage=((child, 2),)) for child in range(2)]
    for kept, part in enumerate([failed, parts[0]], start=1):
        harness.publish("muniflow.events", Events(settled=(part,)).to_bytes())
        harness.until(lambda kept=kept: leaves_kept(harness) == kept)  # type: ignore[misc]
    harness.crash()
    harness.start()
    harness.publish("muniflow.events", Events(settled=(parts[1],)).to_bytes())
    assert harness.finish().state == "failed"
    assert harness.report()["images"][0]["reasons"] == ["operations[1] (paste), tile 0of2.1of2: too small"]


def leaves_kept(harness: "CoordinatorHarness") -> int:
    row = harness.state.find("b") if harness.state else None
    if harness.state is None or row is None:
        return -1
    ((_, leaves),) = harness.state.opened(row.number, [0])
    return len(leaves)


def test_killed_while_it_reads_a_batch_it_reads_it_again(
    harness: "CoordinatorHarness", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("muniflow_coordinator.handlers.image_list.CHUNK", 2)
    harness.pictures(5)
    harness.start()
    assert harness.coordinator
    assert harness.state
    reading = harness.state.insert_images

    def killed(batch: int, images: Any) -> None:
        reading(batch, images)
        raise Killed

    monkeypatch.setattr(harness.state, "insert_images", killed)
    harness.submit(wait=False)
    assert until_killed_or(harness, lambda: harness.ended("b"))
    harness.crash()
    harness.start()
    assert harness.finish().total == 5
    assert len(harness.report()["images"]) == 5


@pytest.mark.parametrize(
    ("document", "write"),
    [({"images": ["0000.jpg", "0001.jpg"]}, "insert_batch"), ({}, "accept_batch")],
    ids=["named in the batch", "found below its source"],
)
@pytest.mark.parametrize("committed", [True, False])
def test_a_small_batch_survives_the_doubt_about_its_only_transaction(
    harness: "CoordinatorHarness",
    monkeypatch: pytest.MonkeyPatch,
    document: dict[str, Any],
    write: str,
    committed: bool,
) -> None:
    """The database goes away in the middle of the commit: whether it was done is known only by asking again."""
    harness.pictures(2)
    harness.start()
    assert harness.state
    real, calls = getattr(harness.state, write), []

    def doubtful(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        if len(calls) > 1:
            return real(*arguments, **options)
        if committed:
            real(*arguments, **options)
        raise Unavailable("state database", "a test")

    monkeypatch.setattr(harness.state, write, doubtful)
    harness.submit(**document)
    notice = harness.finish()
    assert (notice.state, notice.done) == ("done", 2)
    assert calls
    assert len(harness.report()["images"]) == 2
    harness.until(lambda: not harness.broker.depths()["muniflow.batches"])


def test_a_lost_connection_changes_nothing(harness: "CoordinatorHarness") -> None:
    harness.pictures(100)
    harness.start(window_images=10)
    harness.submit()
    for seen in (10, 30, 60):
        harness.until(lambda seen=seen: len(harness.tasks) > seen)  # type: ignore[misc]
        harness.broker.drop_connections("a test")
    assert harness.finish().done == 100


def test_a_blocked_broker_is_delay(harness: "CoordinatorHarness") -> None:
    harness.pictures(30)
    harness.start(window_images=5)
    harness.submit()
    harness.until(lambda: len(harness.tasks) > 5)
    harness.broker.block("memory alarm")
    later: list[bool] = []
    harness.loop.call_later(0.1, lambda: later.append(True))
    harness.until(lambda: later)
    assert harness.ended("b") is None
    harness.broker.unblock()
    assert harness.finish().done == 30


def test_an_output_store_that_is_away_delays_the_report(
    harness: "CoordinatorHarness", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("muniflow_coordinator.handlers.finalizer.RETRY_DELAY_S", 0.02)
    harness.pictures(1)
    harness.hold = True
    coordinator = harness.start()
    harness.submit()
    harness.until(lambda: bool(harness.notices))
    (harness.root / "output").write_text("a file where a folder should be")
    harness.let_go()
    harness.until(lambda: any(run.waiting_for for run in coordinator.view.runs))
    assert harness.ended("b") is None
    (harness.root / "output").unlink()
    assert harness.finish().state == "done"


def test_a_database_that_is_locked_is_delay(harness: "CoordinatorHarness", monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlite3

    monkeypatch.setattr("muniflow_coordinator.state.opening.BUSY_TIMEOUT_S", 0.01)
    monkeypatch.setattr("muniflow_coordinator.retry_queue.FIRST_PAUSE_S", 0.02)
    harness.pictures(3)
    coordinator = harness.start()
    other = sqlite3.connect(harness.root / "state.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    harness.submit()
    harness.until(lambda: coordinator.retry_queue.waiting_for)
    other.execute("ROLLBACK")
    other.close()
    assert harness.finish().done == 3
    assert coordinator.retry_queue.waiting_for is None


def test_stopping_records_and_acks_what_has_come(harness: "CoordinatorHarness") -> None:
    harness.pictures(20)
    coordinator = harness.start(window_images=20)
    harness.hold = True
    harness.submit()
    harness.until(lambda: len(harness.held) == 20)
    harness.let_go()
    stopped: list[bool] = []
    coordinator.stop(lambda: stopped.append(True))
    harness.until(lambda: stopped)
    harness.crash()
    harness.start()
    assert harness.finish().done == 20


def test_a_source_store_that_is_away_delays_the_intake(
    harness: "CoordinatorHarness", monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("muniflow_coordinator.handlers.list_reader.RETRY_DELAY_S", 0.02)
    assert isinstance(harness.stores.source, LocalStore)
    (harness.root / "source").rmdir()
    harness.start()
    harness.submit(manifest="list.txt", source=None)
    harness.until(lambda: "is its volume mounted" in caplog.text)
    (harness.root / "source").mkdir()
    harness.stores.source.write("list.txt", b"a.jpg\nb.jpg\n")
    harness.until(lambda: harness.ended("b"))


@pytest.mark.parametrize("ended", [True, False], ids=["ended meanwhile", "still runs"])
def test_tasks_that_wait_for_a_connection_are_published_unless_their_batch_has_ended(
    harness: "CoordinatorHarness", monkeypatch: pytest.MonkeyPatch, *, ended: bool
) -> None:
    """Copies that an earlier coordinator has dispatched settle a batch while its tasks wait to be published anew."""
    monkeypatch.setattr("muniflow_coordinator.handlers.dispatcher.RETRY_DELAY_S", 0.01)
    harness.start_with_held(3, 3)
    coordinator, state = harness.coordinator, harness.state
    assert coordinator
    assert state
    dispatcher, run = coordinator.dispatcher, coordinator.view.runs.get("b")
    assert run
    before = len(harness.held)
    taken = [(run, row) for row in state.images(run.number)]
    with monkeypatch.context() as away:
        away.setattr(dispatcher, "transport", Away())
        dispatcher.publish(taken)
        if ended:
            harness.let_go()
            harness.finish()
    wait_s(harness, 0.2)
    assert len(harness.held) + len(harness.tasks) == before + (0 if ended else 3)


class Away:
    """A transport without a connection."""

    connected = False


def wait_s(harness: "CoordinatorHarness", pause_s: float) -> None:
    """Run the loop: for what must not happen."""
    later: list[bool] = []
    harness.loop.call_later(pause_s, lambda: later.append(True))
    harness.until(lambda: later)
