"""The safety net: queues that somebody purged, and images that nobody has any more."""

from typing import TYPE_CHECKING, Any

import pytest

from muniflow.model.messages import Events, Settled, Task
from muniflow.model.topology import EVENTS, step_queue

if TYPE_CHECKING:
    from tests.unit.coordinator.conftest import CoordinatorHarness


def again(harness: "CoordinatorHarness") -> float:
    assert harness.coordinator
    return float(harness.metrics.images_again._value.get())


def purge(harness: "CoordinatorHarness") -> None:
    """Throw away what waits, as an administrator would."""
    queue = harness.broker.queue(step_queue("copy"))
    assert queue is not None
    queue.ready.clear()


def test_purged_tasks_are_dispatched_again(harness: "CoordinatorHarness") -> None:
    harness.pictures(30)
    harness.worker.cancel(step_queue("copy"))
    harness.start(window_images=10, redispatch_after_s=0.2)
    harness.submit()
    harness.until(lambda: harness.depth(step_queue("copy")) == 10)
    purge(harness)
    harness.worker.consume(step_queue("copy"), 10_000, harness._on_task)
    notice = harness.finish()
    assert (notice.state, notice.done) == ("done", 30)
    assert again(harness) == 10


def test_a_backlog_is_no_loss(harness: "CoordinatorHarness") -> None:
    harness.pictures(5)
    harness.worker.cancel(step_queue("copy"))
    harness.start(redispatch_after_s=0.05)
    harness.submit()
    harness.until(lambda: harness.depth(step_queue("copy")) == 5)
    later: list[bool] = []
    harness.loop.call_later(0.6, lambda: later.append(True))
    harness.until(lambda: later)
    assert (again(harness), harness.depth(step_queue("copy"))) == (0, 5)
    harness.worker.consume(step_queue("copy"), 10_000, harness._on_task)
    assert harness.finish().done == 5


def test_what_is_lost_again_and_again_is_settled_as_failed(
    harness: "CoordinatorHarness", monkeypatch: pytest.MonkeyPatch, answers: dict[str, Any]
) -> None:
    """One image answers one of its two parts and then never again: the rest of it is lost, the others are done."""

    def one_vanishes(task: Task) -> list[Events]:
        if task.image != 1:
            return list(answers["all_done"](task))
        first = answers["leaves_of"](task)[0]
        return [Events(settled=(Settled(batch="b", image=1, run=task.run, lineage=first),))]

    monkeypatch.setattr("muniflow_coordinator.handlers.redispatch.MAX_AGAIN", 2)
    harness.pictures(3)
    harness.answer = one_vanishes
    harness.start(redispatch_after_s=0.1)
    harness.submit(operations=[["copy", 2]])
    notice = harness.finish()
    assert (notice.state, notice.done, notice.failed) == ("partial", 2, 1)
    assert [task.image for task in harness.tasks].count(1) == 3
    (reason,) = harness.report()["images"][1]["reasons"]
    assert "lost: no event after 3 dispatches" in reason
    harness.answer = answers["all_done"]
    harness.notices.clear()
    harness.command("reopen")
    assert harness.finish().state == "done"


def test_zero_means_never(harness: "CoordinatorHarness") -> None:
    harness.pictures(1)
    harness.hold = True
    harness.start(redispatch_after_s=0)
    harness.submit()
    harness.until(lambda: harness.held)
    later: list[bool] = []
    harness.loop.call_later(0.3, lambda: later.append(True))
    harness.until(lambda: later)
    assert again(harness) == 0
    harness.publish(EVENTS, Events(settled=(Settled(batch="b", image=0),)).to_bytes())
    assert harness.finish().done == 1
