"""Cancelling and re-opening."""

from typing import TYPE_CHECKING, Any

import pytest

from muniflow.model.messages import Events, Settled
from muniflow_coordinator.state.types import Commit

if TYPE_CHECKING:
    from tests.unit.coordinator.conftest import CoordinatorHarness


def test_cancelling_dispatches_nothing_more_and_lets_what_runs_end(harness: "CoordinatorHarness") -> None:
    harness.start_with_held(50, 5, window_images=5)
    harness.command("cancel")
    harness.until(lambda: cancelled(harness) == 45)
    assert harness.ended() is None
    harness.let_go()
    notice = harness.finish()
    assert (notice.state, notice.done, notice.cancelled) == ("cancelled", 5, 45)
    assert [image["state"] for image in harness.report()["images"]] == ["done"] * 5 + ["cancelled"] * 45


def cancelled(harness: "CoordinatorHarness") -> int:
    row = harness.state.find("b") if harness.state else None
    return row.counts.cancelled if row else 0


def test_cancelling_twice_and_a_batch_that_ended_is_nothing(harness: "CoordinatorHarness") -> None:
    harness.pictures(2)
    harness.start()
    harness.submit()
    harness.finish()
    harness.command("cancel")
    harness.command("cancel", batch="nobody")
    harness.until(lambda: harness.depth("muniflow.control") == 0)
    harness.submit(batch_id="next", destination="next")
    harness.finish("next")
    assert cancelled(harness) == 0


def test_a_command_for_a_batch_that_is_not_known_leaves_a_trace(
    harness: "CoordinatorHarness", caplog: pytest.LogCaptureFixture
) -> None:
    harness.start()
    for action in ("cancel", "reopen", "drop"):
        harness.command(action, batch="nobody", sender={"message_id": action})
    harness.until(lambda: harness.state and len(harness.state.audit()) == 3)
    assert harness.state
    assert {(entry.action, entry.batch, entry.detail) for _, entry in harness.state.audit()} == {
        (action, "nobody", "refused: no such batch") for action in ("cancel", "replay", "drop")
    }
    assert harness.metrics.commands_unknown._value.get() == 3
    assert caplog.text.count("command for a batch that is not known") == 3


def test_a_restart_goes_on_cancelling(harness: "CoordinatorHarness") -> None:
    harness.start_with_held(30, 3, window_images=3)
    harness.command("cancel")
    harness.until(lambda: cancelled(harness) == 27)
    harness.crash()
    harness.start(window_images=3)
    harness.until(lambda: len(harness.held) == 6)  # dispatched again, as after every restart
    assert harness.ended() is None
    harness.let_go()
    notice = harness.finish()
    assert (notice.state, notice.done, notice.cancelled) == ("cancelled", 3, 27)
    assert [image["state"] for image in harness.report()["images"]] == ["done"] * 3 + ["cancelled"] * 27


def test_a_restart_before_the_first_image_is_cancelled_keeps_what_is_in_flight(harness: "CoordinatorHarness") -> None:
    harness.start_with_held(30, 3, window_images=3)
    assert harness.state is not None
    number = harness.state.unfinished()[0].number
    harness.state.commit([Commit(number, cancelling=True, in_flight=range(3))])
    harness.crash()
    harness.start(window_images=3)
    harness.let_go()
    notice = harness.finish()
    assert (notice.state, notice.done, notice.cancelled) == ("cancelled", 3, 27)


def test_reopening_runs_only_what_failed(harness: "CoordinatorHarness", answers: dict[str, Any]) -> None:
    harness.pictures(6)
    harness.answer = lambda task: answers["failed" if task.image % 2 else "all_done"](task)
    harness.start()
    harness.submit()
    assert harness.finish().failed == 3
    harness.answer = answers["all_done"]
    harness.tasks.clear()
    harness.notices.clear()
    harness.command("reopen", image=3)
    notice = harness.finish()
    assert (notice.state, notice.done, notice.failed) == ("partial", 4, 2)
    harness.notices.clear()
    harness.command("reopen")
    assert harness.finish().state == "done"
    assert [(task.image, task.run) for task in harness.tasks] == [(3, 1), (1, 1), (5, 1)]
    assert [image["state"] for image in harness.report()["images"]] == ["done"] * 6


def test_reopening_again_and_again_is_safe(harness: "CoordinatorHarness", answers: dict[str, Any]) -> None:
    harness.pictures(2)
    harness.answer = answers["failed"]
    harness.start()
    harness.submit()
    harness.finish()
    for _ in range(3):
        harness.notices.clear()
        harness.command("reopen")
        assert harness.finish().failed == 2
    harness.answer = answers["all_done"]
    harness.notices.clear()
    harness.command("reopen")
    harness.command("reopen")
    notice = harness.finish()
    harness.until(lambda: harness.depth("muniflow.control") == 0)
    assert (notice.done, notice.failed) == (2, 0)
    assert max(task.run for task in harness.tasks) == 4


def test_events_of_an_earlier_run_change_nothing(harness: "CoordinatorHarness", answers: dict[str, Any]) -> None:
    harness.pictures(1)
    harness.answer = answers["failed"]
    harness.start()
    harness.submit()
    harness.finish()
    harness.hold = True
    harness.command("reopen")
    harness.until(lambda: harness.held)
    harness.publish("muniflow.events", Events(settled=(Settled(batch="b", image=0, run=0, reason="old"),)).to_bytes())
    harness.answer = answers["all_done"]
    harness.notices.clear()
    harness.let_go()
    assert harness.finish().state == "done"
    assert harness.report()["images"][0]["reasons"] == []


def test_reopening_in_a_running_batch(harness: "CoordinatorHarness", answers: dict[str, Any]) -> None:
    harness.pictures(40)
    harness.answer = lambda task: answers["failed" if task.image == 0 and task.run == 0 else "all_done"](task)
    harness.start(window_images=2)
    harness.submit()
    harness.until(
        lambda: any(run.counts.failed for run in harness.coordinator.view.runs) if harness.coordinator else False
    )
    harness.command("reopen")
    notice = harness.finish()
    assert (notice.state, notice.done) == ("done", 40)


def test_a_cancelled_batch_stays_cancelled_when_its_failures_are_run_again(
    harness: "CoordinatorHarness", answers: dict[str, Any]
) -> None:
    harness.pictures(10)
    harness.answer = answers["failed"]
    harness.hold = True
    harness.start(window_images=2)
    harness.submit()
    harness.until(lambda: len(harness.held) == 2)
    harness.command("cancel")
    harness.until(lambda: cancelled(harness) == 8)
    harness.let_go()
    assert harness.finish().failed == 2
    harness.answer = answers["all_done"]
    harness.notices.clear()
    harness.command("reopen")
    notice = harness.finish()
    assert (notice.state, notice.done, notice.failed, notice.cancelled) == ("cancelled", 2, 0, 8)


@pytest.mark.usefixtures("unlisted")
def test_a_command_for_a_batch_that_is_being_read_waits_for_it(harness: "CoordinatorHarness") -> None:
    harness.stores.source.write("list.txt", (f"{n}.jpg\n".encode() for n in range(10_000)))
    harness.hold = True
    harness.start(window_images=1)
    harness.submit(wait=False, source=None, manifest="list.txt")
    harness.until(lambda: harness.state and harness.state.find("b"))
    harness.command("cancel")
    harness.until(lambda: cancelled(harness) >= 9999)
    harness.let_go()
    assert harness.finish().state == "cancelled"
