"""The safety net: queues that somebody purged, and images that nobody has any more."""

from typing import TYPE_CHECKING, Any

import pytest

from muniflow.messages import Events, Settled, Task
from muniflow.topology import EVENTS, step_queue

if TYPE_CHECKING:
    from tests.unit.coordinator.conftest import World


def again(world: "World") -> float:
    assert world.coordinator
    return float(world.coordinator.core.metrics.images_again._value.get())


def purge(world: "World") -> None:
    """Throw away what waits, as an administrator would."""
    queue = world.broker.queue(step_queue("copy"))
    assert queue is not None
    queue.ready.clear()


def test_purged_tasks_are_dispatched_again(world: "World") -> None:
    world.pictures(30)
    world.worker.cancel(step_queue("copy"))
    world.start(window_images=10, redispatch_after_s=0.2)
    world.submit()
    world.until(lambda: world.depth(step_queue("copy")) == 10)
    purge(world)
    world.worker.consume(step_queue("copy"), 10_000, world._on_task)
    notice = world.finish()
    assert (notice.state, notice.done) == ("done", 30)
    assert again(world) == 10


def test_a_backlog_is_no_loss(world: "World") -> None:
    world.pictures(5)
    world.worker.cancel(step_queue("copy"))
    world.start(redispatch_after_s=0.05)
    world.submit()
    world.until(lambda: world.depth(step_queue("copy")) == 5)
    later: list[bool] = []
    world.loop.call_later(0.6, lambda: later.append(True))
    world.until(lambda: later)
    assert (again(world), world.depth(step_queue("copy"))) == (0, 5)
    world.worker.consume(step_queue("copy"), 10_000, world._on_task)
    assert world.finish().done == 5


def test_what_is_lost_again_and_again_is_settled_as_failed(
    world: "World", monkeypatch: pytest.MonkeyPatch, answers: dict[str, Any]
) -> None:
    """One image answers one of its two parts and then never again: the rest of it is lost, the others are done."""

    def one_vanishes(task: Task) -> list[Events]:
        if task.image != 1:
            return list(answers["all_done"](task))
        first = answers["leaves_of"](task)[0]
        return [Events(settled=(Settled(batch="b", image=1, run=task.run, lineage=first),))]

    monkeypatch.setattr("muniflow_coordinator.redispatch.MOST_AGAIN", 2)
    world.pictures(3)
    world.answer = one_vanishes
    world.start(redispatch_after_s=0.1)
    world.submit(operations=[["copy", 2]])
    notice = world.finish()
    assert (notice.state, notice.done, notice.failed) == ("partial", 2, 1)
    assert [task.image for task in world.tasks].count(1) == 3
    (reason,) = world.report()["images"][1]["reasons"]
    assert "lost: nothing was heard of it after 3 dispatches" in reason
    world.answer = answers["all_done"]
    world.notices.clear()
    world.command("reopen")
    assert world.finish().state == "done"


def test_zero_means_never(world: "World") -> None:
    world.pictures(1)
    world.hold = True
    world.start(redispatch_after_s=0)
    world.submit()
    world.until(lambda: world.held)
    later: list[bool] = []
    world.loop.call_later(0.3, lambda: later.append(True))
    world.until(lambda: later)
    assert again(world) == 0
    world.publish(EVENTS, Events(settled=(Settled(batch="b", image=0),)).to_bytes())
    assert world.finish().done == 1
