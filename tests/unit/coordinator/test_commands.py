"""Cancelling and re-opening."""

from typing import TYPE_CHECKING, Any

from muniflow.messages import Events, Settled

if TYPE_CHECKING:
    from tests.unit.coordinator.conftest import World


def test_cancelling_dispatches_nothing_more_and_lets_what_runs_end(world: "World") -> None:
    world.start_with_held(50, 5, window_images=5)
    world.command("cancel")
    world.until(lambda: cancelled(world) == 45)
    assert world.ended() is None
    world.let_go()
    notice = world.finish()
    assert (notice.state, notice.done, notice.cancelled) == ("cancelled", 5, 45)
    assert [image["state"] for image in world.report()["images"]] == ["done"] * 5 + ["cancelled"] * 45


def cancelled(world: "World") -> int:
    row = world.state.find("b") if world.state else None
    return row.counts.cancelled if row else 0


def test_cancelling_twice_and_a_batch_that_ended_is_nothing(world: "World") -> None:
    world.pictures(2)
    world.start()
    world.submit()
    world.finish()
    world.command("cancel")
    world.command("cancel", batch="nobody")
    world.until(lambda: world.depth("muniflow.control") == 0)
    world.submit(batch_id="next", destination="next")
    world.finish("next")
    assert cancelled(world) == 0


def test_a_restart_goes_on_cancelling(world: "World") -> None:
    world.start_with_held(30, 3, window_images=3)
    world.command("cancel")
    world.until(lambda: cancelled(world) == 27)
    world.crash()
    world.start()
    # What was in flight is not known any more, so it is cancelled, too; its late events change nothing.
    assert world.finish().cancelled == 30
    world.let_go()
    world.until(lambda: world.depth("muniflow.events") == 0)
    assert cancelled(world) == 30


def test_reopening_runs_only_what_failed(world: "World", answers: dict[str, Any]) -> None:
    world.pictures(6)
    world.answer = lambda task: answers["failed" if task.image % 2 else "all_done"](task)
    world.start()
    world.submit()
    assert world.finish().failed == 3
    world.answer = answers["all_done"]
    world.tasks.clear()
    world.notices.clear()
    world.command("reopen", image=3)
    notice = world.finish()
    assert (notice.state, notice.done, notice.failed) == ("partial", 4, 2)
    world.notices.clear()
    world.command("reopen")
    assert world.finish().state == "done"
    assert [(task.image, task.run) for task in world.tasks] == [(3, 1), (1, 1), (5, 1)]
    assert [image["state"] for image in world.report()["images"]] == ["done"] * 6


def test_reopening_again_and_again_is_safe(world: "World", answers: dict[str, Any]) -> None:
    world.pictures(2)
    world.answer = answers["failed"]
    world.start()
    world.submit()
    world.finish()
    for _ in range(3):
        world.notices.clear()
        world.command("reopen")
        assert world.finish().failed == 2
    world.answer = answers["all_done"]
    world.notices.clear()
    world.command("reopen")
    world.command("reopen")
    notice = world.finish()
    world.until(lambda: world.depth("muniflow.control") == 0)
    assert (notice.done, notice.failed) == (2, 0)
    assert max(task.run for task in world.tasks) == 4


def test_events_of_an_earlier_run_change_nothing(world: "World", answers: dict[str, Any]) -> None:
    world.pictures(1)
    world.answer = answers["failed"]
    world.start()
    world.submit()
    world.finish()
    world.hold = True
    world.command("reopen")
    world.until(lambda: world.held)
    world.publish("muniflow.events", Events(settled=(Settled(batch="b", image=0, run=0, reason="old"),)).to_bytes())
    world.answer = answers["all_done"]
    world.notices.clear()
    world.let_go()
    assert world.finish().state == "done"
    assert world.report()["images"][0]["reasons"] == []


def test_reopening_in_a_running_batch(world: "World", answers: dict[str, Any]) -> None:
    world.pictures(40)
    world.answer = lambda task: answers["failed" if task.image == 0 and task.run == 0 else "all_done"](task)
    world.start(window_images=2)
    world.submit()
    world.until(lambda: any(run.counts.failed for run in world.coordinator.core.runs) if world.coordinator else False)
    world.command("reopen")
    notice = world.finish()
    assert (notice.state, notice.done) == ("done", 40)


def test_a_cancelled_batch_stays_cancelled_when_its_failures_are_run_again(
    world: "World", answers: dict[str, Any]
) -> None:
    world.pictures(10)
    world.answer = answers["failed"]
    world.hold = True
    world.start(window_images=2)
    world.submit()
    world.until(lambda: len(world.held) == 2)
    world.command("cancel")
    world.until(lambda: cancelled(world) == 8)
    world.let_go()
    assert world.finish().failed == 2
    world.answer = answers["all_done"]
    world.notices.clear()
    world.command("reopen")
    notice = world.finish()
    assert (notice.state, notice.done, notice.failed, notice.cancelled) == ("cancelled", 2, 0, 8)


def test_a_command_for_a_batch_that_is_being_read_waits_for_it(world: "World") -> None:
    world.stores.source.write("list.txt", (f"{n}.jpg\n".encode() for n in range(10_000)))
    world.hold = True
    world.start(window_images=1)
    world.submit(wait=False, source=None, manifest="list.txt")
    world.until(lambda: world.state and world.state.find("b"))
    world.command("cancel")
    world.until(lambda: cancelled(world) >= 9999)
    world.let_go()
    assert world.finish().state == "cancelled"
