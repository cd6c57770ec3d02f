"""Intermediates that the work store has lost: their images begin again from their sources."""

from typing import TYPE_CHECKING, Any

import pytest

from muniflow.model.messages import Events, Settled, Task

if TYPE_CHECKING:
    from tests.unit.coordinator.conftest import CoordinatorHarness

GONE = "blob 'b/0/1/0-0-whole.raw' has 0 bytes; bytes 0 to 48 were asked for"


def gone(task: Task, *lineages: Any) -> Events:
    """What a worker says of tasks whose intermediates are not there."""
    of = {"batch": task.batch, "image": task.image, "run": task.run, "reason": GONE, "input_gone": True}
    return Events(settled=tuple(Settled(lineage=lineage, **of) for lineage in lineages))


def runs_of(harness: "CoordinatorHarness", image: int) -> list[int]:
    return [task.run for task in harness.tasks if task.image == image]


def test_an_image_begins_again_once_however_many_of_its_tiles_are_gone(
    harness: "CoordinatorHarness", answers: dict[str, Any]
) -> None:
    def one_loses_its_tiles(task: Task) -> list[Events]:
        if task.image != 1 or task.run:
            return list(answers["all_done"](task))
        first, *others = answers["leaves_of"](task)
        done = Events(settled=(Settled(batch="b", image=1, run=task.run, lineage=first),))
        return [done, *(gone(task, leaf) for leaf in others)]

    harness.pictures(3)
    harness.answer = one_loses_its_tiles
    harness.start()
    harness.submit(operations=[["copy", 4], ["paste", 1]])
    notice = harness.finish()
    assert (notice.state, notice.done, notice.failed) == ("done", 3, 0)
    assert [runs_of(harness, image) for image in range(3)] == [[0], [0, 1], [0]]
    assert harness.metrics.images_again._value.get() == 1


def test_what_is_lost_each_time_fails_in_the_end(
    harness: "CoordinatorHarness", monkeypatch: pytest.MonkeyPatch, answers: dict[str, Any]
) -> None:
    monkeypatch.setattr("muniflow_coordinator.handlers.restart.MAX_AGAIN", 2)
    harness.pictures(2)
    harness.answer = lambda task: [gone(task, ())] if task.image == 1 else list(answers["all_done"](task))
    harness.start()
    harness.submit(operations=[["copy", 1], ["paste", 1]])
    notice = harness.finish()
    assert (notice.state, notice.done, notice.failed) == ("partial", 1, 1)
    assert runs_of(harness, 1) == [0, 1, 2]
    assert GONE in harness.report()["images"][1]["reasons"][0]


def test_a_late_copy_of_a_task_changes_nothing(harness: "CoordinatorHarness", answers: dict[str, Any]) -> None:
    """Its image is settled, or this part of it: its intermediate was removed with good reason."""
    harness.pictures(2)
    harness.answer = lambda task: [*answers["all_done"](task), gone(task, ())]
    harness.start()
    harness.submit(operations=[["copy", 1], ["paste", 1]])
    assert harness.finish().state == "done"
    assert [task.run for task in harness.tasks] == [0, 0]


def test_an_image_of_an_earlier_life_has_its_turn(harness: "CoordinatorHarness") -> None:
    """Before it is dispatched in this one, there is nothing to begin again."""
    harness.start_with_held(3, held=1, window_images=1)
    first = Task.from_bytes(harness.held[0].body)
    harness.crash()
    harness.start(window_images=1)
    harness.publish("muniflow.events", gone(first, ()).to_bytes())
    harness.let_go()
    notice = harness.finish()
    assert (notice.state, notice.done) == ("done", 3)
