"""The coordinator thrown away at every point of its work, and made again on the same database."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from muniflow.errors import Unavailable
from muniflow.failpoints import PLACES, Failpoints
from muniflow.messages import Events, Settled, Task
from muniflow.store.local import LocalStore

if TYPE_CHECKING:
    from tests.unit.coordinator.conftest import World

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


def until_killed_or(world: "World", condition: Callable[[], object]) -> bool:
    """Whether it was killed before `condition` held."""
    try:
        world.until(condition)
    except Killed:
        return True
    return False


@pytest.mark.parametrize("hit", [1, 2, 5])
@pytest.mark.parametrize("place", [place for place in COORDINATOR_PLACES if place != "coordinator.after_report"])
def test_killed_at_any_point_it_goes_on_where_it_was(world: "World", place: str, hit: int) -> None:
    world.pictures(40)
    world.start(kill_at(place, hit), window_images=6)
    world.submit(wait=False, operations=[["copy", 2], ["paste", 2]])
    killed = until_killed_or(world, lambda: world.ended("b"))
    assert killed or hit > 1, "the place was never reached"
    world.crash()
    world.start(window_images=6)
    notice = world.finish()
    assert (notice.state, notice.done, notice.total) == ("done", 40, 40)
    assert world.report()["totals"]["outputs"] == 160
    row = world.state.find("b") if world.state else None
    assert row is not None
    assert (row.state, row.counts.pending) == ("done", 0)
    assert world.state is not None
    assert world.state.leaves(row.number) == []


def test_killed_after_every_single_event(world: "World", answers: dict[str, Any]) -> None:
    """Eight leaves, one message each, a crash after each commit: the image settles with the eighth."""

    def one_by_one(task: Task) -> list[Events]:
        return [
            Events(settled=(Settled(batch="b", image=task.image, lineage=leaf),)) for leaf in answers["leaves_of"](task)
        ]

    world.pictures(1)
    world.answer = one_by_one
    world.start()
    world.hold = True
    world.submit(operations=[["copy", 4], ["paste", 2]])
    world.until(lambda: world.held)
    task = Task.from_bytes(world.held[0].body)
    for number, events in enumerate(one_by_one(task), start=1):
        world.publish("muniflow.events", events.to_bytes())
        world.until(lambda number=number: leaves_kept(world) == number % 8)  # type: ignore[misc]
        world.crash()
        world.start()
    assert world.finish().state == "done"


def leaves_kept(world: "World") -> int:
    row = world.state.find("b") if world.state else None
    if world.state is None or row is None:
        return -1
    ((_, leaves),) = world.state.opened(row.number, [0])
    return len(leaves)


def test_killed_while_it_reads_a_batch_it_reads_it_again(world: "World", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("muniflow_coordinator.intake.CHUNK", 2)
    world.pictures(5)
    world.start()
    assert world.coordinator
    assert world.state
    reading = world.state.insert_images

    def killed(batch: int, images: Any) -> None:
        reading(batch, images)
        raise Killed

    monkeypatch.setattr(world.state, "insert_images", killed)
    world.submit(wait=False)
    assert until_killed_or(world, lambda: world.ended("b"))
    world.crash()
    world.start()
    assert world.finish().total == 5
    assert len(world.report()["images"]) == 5


@pytest.mark.parametrize(
    ("document", "write"),
    [({"images": ["0000.jpg", "0001.jpg"]}, "insert_batch"), ({}, "accept_batch")],
    ids=["named in the batch", "found below its source"],
)
@pytest.mark.parametrize("committed", [True, False])
def test_a_small_batch_survives_the_doubt_about_its_only_transaction(
    world: "World", monkeypatch: pytest.MonkeyPatch, document: dict[str, Any], write: str, committed: bool
) -> None:
    """The database goes away in the middle of the commit: whether it was done is known only by asking again."""
    world.pictures(2)
    world.start()
    assert world.state
    real, calls = getattr(world.state, write), []

    def doubtful(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) > 1:
            return real(*arguments)
        if committed:
            real(*arguments)
        raise Unavailable("state database", "a test")

    monkeypatch.setattr(world.state, write, doubtful)
    world.submit(**document)
    notice = world.finish()
    assert (notice.state, notice.done) == ("done", 2)
    assert calls
    assert len(world.report()["images"]) == 2
    world.until(lambda: not world.broker.depths()["muniflow.batches"])


def test_a_lost_connection_changes_nothing(world: "World") -> None:
    world.pictures(100)
    world.start(window_images=10)
    world.submit()
    for seen in (10, 30, 60):
        world.until(lambda seen=seen: len(world.tasks) > seen)  # type: ignore[misc]
        world.broker.drop_connections("a test")
    assert world.finish().done == 100


def test_a_blocked_broker_is_delay(world: "World") -> None:
    world.pictures(30)
    world.start(window_images=5)
    world.submit()
    world.until(lambda: len(world.tasks) > 5)
    world.broker.block("memory alarm")
    later: list[bool] = []
    world.loop.call_later(0.1, lambda: later.append(True))
    world.until(lambda: later)
    assert world.ended("b") is None
    world.broker.unblock()
    assert world.finish().done == 30


def test_an_output_store_that_is_away_delays_the_report(world: "World", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("muniflow_coordinator.finish.AGAIN_S", 0.02)
    (world.root / "output").write_text("a file where a folder should be")
    world.pictures(1)
    coordinator = world.start()
    world.submit()
    world.until(lambda: any(run.waiting_for for run in coordinator.core.runs))
    assert world.ended("b") is None
    (world.root / "output").unlink()
    assert world.finish().state == "done"


def test_a_database_that_is_locked_is_delay(world: "World", monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlite3

    monkeypatch.setattr("muniflow_coordinator.state.opening.BUSY_TIMEOUT_S", 0.01)
    monkeypatch.setattr("muniflow_coordinator.patience.FIRST_PAUSE_S", 0.02)
    world.pictures(3)
    coordinator = world.start()
    other = sqlite3.connect(world.root / "state.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    world.submit()
    world.until(lambda: coordinator.core.patience.waiting_for)
    other.execute("ROLLBACK")
    other.close()
    assert world.finish().done == 3
    assert coordinator.core.patience.waiting_for is None


def test_stopping_records_and_acks_what_has_come(world: "World") -> None:
    world.pictures(20)
    coordinator = world.start(window_images=20)
    world.hold = True
    world.submit()
    world.until(lambda: len(world.held) == 20)
    world.let_go()
    stopped: list[bool] = []
    coordinator.stop(lambda: stopped.append(True))
    world.until(lambda: stopped)
    world.crash()
    world.start()
    assert world.finish().done == 20


def test_a_source_store_that_is_away_delays_the_intake(
    world: "World", monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("muniflow_coordinator.intake_desk.AGAIN_S", 0.02)
    assert isinstance(world.stores.source, LocalStore)
    (world.root / "source").rmdir()
    world.start()
    world.submit(manifest="list.txt", source=None)
    world.until(lambda: "is its volume mounted" in caplog.text)
    (world.root / "source").mkdir()
    world.stores.source.write("list.txt", b"a.jpg\nb.jpg\n")
    world.until(lambda: world.ended("b"))
