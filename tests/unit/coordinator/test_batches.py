"""Batches from submission to report, with a real coordinator in a small world."""

from typing import TYPE_CHECKING, Any

import pytest

from muniflow.messages import Events, Settled, Task
from muniflow.topology import BATCHES, CONTROL, EVENTS, LOST, dead_queue, step_queue

if TYPE_CHECKING:
    from tests.unit.coordinator.conftest import World


def test_a_batch_runs_and_its_report_names_every_output(world: "World") -> None:
    world.pictures(3)
    world.start()
    world.submit(operations=[["copy", 2], ["paste", 1]], municipality="Utrecht", output="png")
    notice = world.finish()
    assert (notice.state, notice.total, notice.done, notice.report) == ("done", 3, 3, "b/report.json")
    report = world.report()
    assert report["municipality"] == "Utrecht"
    assert report["totals"] == {"images": 3, "done": 3, "failed": 0, "cancelled": 0, "outputs": 6}
    assert [image["source"] for image in report["images"]] == ["in/0000.jpg", "in/0001.jpg", "in/0002.jpg"]
    assert report["images"][1]["outputs"] == ["b/0001-0.png", "b/0001-1.png"]
    assert [notice.state for notice in world.notices] == ["running", "done"]


def test_more_images_than_the_window_all_run(world: "World") -> None:
    world.pictures(60)
    world.start(window_images=7, window_total=9)
    world.submit()
    assert world.finish().done == 60
    assert sorted(task.image for task in world.tasks) == list(range(60))


@pytest.mark.parametrize("ends", [3, 39])
def test_ends_that_neither_refill_the_window_nor_end_the_batch_wait_for_company(world: "World", ends: int) -> None:
    world.start_with_held(40, 40, events_linger_s=1)
    world.let_go(first=ends)
    assert world.state is not None
    world.until(lambda: not world.depth(EVENTS))
    row = world.state.find("b")
    assert row is not None
    assert row.counts.done == 0
    world.let_go()
    assert world.finish().done == 40


def test_an_image_that_fails_fails_alone(world: "World", answers: dict[str, Any]) -> None:
    world.pictures(3)
    world.answer = lambda task: answers["failed" if task.image == 1 else "all_done"](task)
    world.start()
    world.submit()
    notice = world.finish()
    assert (notice.state, notice.done, notice.failed) == ("partial", 2, 1)
    broken = world.report()["images"][1]
    assert (broken["state"], broken["outputs"]) == ("failed", [])
    assert broken["reasons"] == ["operations[0] (copy): not an image"]


def test_a_batch_whose_images_all_fail_is_failed(world: "World", answers: dict[str, Any]) -> None:
    world.pictures(2)
    world.answer = answers["failed"]
    world.start()
    world.submit()
    assert world.finish().state == "failed"


def test_a_tile_that_fails_is_named(world: "World", answers: dict[str, Any]) -> None:
    def one_tile_fails(task: Task) -> list[Events]:
        good = answers["leaves_of"](task)[1:]
        return [
            Events(settled=(Settled(batch="b", image=0, lineage=((0, 2),), step=1, reason="too small"),)),
            Events(settled=tuple(Settled(batch="b", image=0, lineage=leaf) for leaf in good)),
        ]

    world.pictures(1)
    world.answer = one_tile_fails
    world.start()
    world.submit(operations=[["copy", 2], ["paste", 1]])
    assert world.finish().state == "failed"
    assert world.report()["images"][0]["reasons"] == ["operations[1] (paste), tile 0of2: too small"]


def test_every_message_twice_changes_nothing(world: "World", answers: dict[str, Any]) -> None:
    def twice(task: Task) -> list[Events]:
        leaves = [
            Events(settled=(Settled(batch=task.batch, image=task.image, lineage=leaf),))
            for leaf in answers["leaves_of"](task)
        ]
        return [*leaves, *reversed(leaves)]

    world.pictures(20)
    world.answer = twice
    world.start(window_images=5)
    world.submit(operations=[["copy", 3], ["paste", 2]])
    world.submit(operations=[["copy", 3], ["paste", 2]])
    notice = world.finish()
    assert (notice.done, notice.total) == (20, 20)
    assert world.report()["totals"]["outputs"] == 120
    world.until(lambda: world.depth(EVENTS) == 0)


def test_the_same_batch_again_is_answered_with_its_state(world: "World") -> None:
    world.pictures(2)
    world.start()
    world.submit()
    world.finish()
    tasks = len(world.tasks)
    world.notices.clear()
    world.submit()
    assert world.finish().state == "done"
    assert len(world.tasks) == tasks


def test_the_same_id_with_other_content_is_refused(world: "World") -> None:
    world.pictures(2)
    world.start()
    world.submit()
    world.finish()
    world.submit(output="png")
    notice = world.finish()
    assert notice.state == "rejected"
    assert [fault["place"] for fault in notice.faults] == ["batch_id"]
    world.until(lambda: world.depth(dead_queue(BATCHES)) == 1)
    row = world.state.find("b") if world.state else None
    assert row is not None
    assert row.state == "done"


@pytest.mark.parametrize("destination", ["out", "out/north", "out/north/b", "out/north/b/deep"])
def test_destinations_may_not_be_equal_or_nested(world: "World", destination: str) -> None:
    world.pictures(1)
    world.start()
    world.submit(destination="out/north/b")
    world.finish()
    world.submit(batch_id="other", destination=destination)
    notice = world.finish("other")
    assert (notice.state, notice.faults[0]["place"]) == ("rejected", "destination")


def test_a_neighbour_whose_name_only_begins_alike_is_no_conflict(world: "World") -> None:
    world.pictures(1)
    world.start()
    world.submit(destination="out/b")
    world.finish()
    world.submit(batch_id="other", destination="out/bc")
    assert world.finish("other").state == "done"


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b"{", ""),
        (b"\xff\x00", ""),
        (b"[]", ""),
        (b'{"batch_id": "b", "source": "in", "operations": [["sharpen", 1]]}', "operations[0]"),
        (b'{"batch_id": "b", "source": "in", "operations": [["copy", 1]], "colour": 1}', "colour"),
        (b'{"batch_id": "b", "source": "in", "operations": [["copy", 1]], "\\ud800": 1}', ""),
        (b'{"batch_id": "\\ud800", "source": "in", "operations": [["copy", 1]]}', "batch_id"),
        (b'{"batch_id": "b", "municipality": "\\ud800", "source": "in", "operations": [["copy", 1]]}', "municipality"),
    ],
)
def test_a_wrong_batch_is_refused_by_its_place_and_kept(world: "World", body: bytes, place: str) -> None:
    world.start()
    world.publish(BATCHES, body)
    world.until(lambda: world.notices)
    assert world.notices[0].state == "rejected"
    assert world.notices[0].faults[0]["place"] == place
    world.until(lambda: world.depth(dead_queue(BATCHES)) == 1)


@pytest.mark.parametrize("queue", [EVENTS, CONTROL])
def test_a_malformed_message_is_kept_and_harms_nothing(world: "World", queue: str) -> None:
    world.pictures(2)
    world.start()
    world.publish(queue, b'{"settled": 7}')
    world.until(lambda: world.depth(dead_queue(queue)) == 1)
    world.submit()
    assert world.finish().state == "done"


def test_events_of_unknown_batches_images_and_tiles_change_nothing(world: "World") -> None:
    world.pictures(2)
    world.hold = True
    world.start()
    world.submit(operations=[["copy", 2]])
    world.until(lambda: len(world.held) == 2)
    strange = (
        Settled(batch="nobody", image=0),
        Settled(batch="b", image=99, lineage=((0, 2),)),
        Settled(batch="b", image=2**80, lineage=((0, 2),)),
        Settled(batch="b", image=-1, lineage=((0, 2),)),
        Settled(batch="b", image=0),  # a whole image cannot be done on this route
        Settled(batch="b", image=0, lineage=((3, 4),)),
        Settled(batch="b", image=0, run=5, lineage=((0, 2),)),
    )
    world.publish(EVENTS, Events(settled=strange).to_bytes())
    world.command("reopen", image=2**80)
    world.let_go()
    assert world.finish().done == 2
    world.publish(EVENTS, Events(settled=strange).to_bytes())
    world.command("reopen", image=2**80)
    world.until(lambda: not world.broker.depths()[EVENTS] + world.broker.depths()[CONTROL])


def test_faults_are_bounded(world: "World") -> None:
    world.start()
    world.submit(source=None, images=[f"../{n}.jpg" for n in range(1000)])
    notice = world.finish()
    assert len(notice.faults) == 101
    assert notice.faults[-1]["problem"] == "and 900 more faults"


def test_a_task_that_the_broker_gave_up_on_settles_its_image(world: "World") -> None:
    world.pictures(2)
    world.start()
    world.until(lambda: world.broker.queue(LOST))
    world.hold = True
    world.submit()
    world.until(lambda: len(world.held) == 2)
    world.publish(LOST, world.held.pop(0).body)
    world.publish(LOST, b"not a task")
    world.let_go()
    notice = world.finish()
    assert (notice.state, notice.failed) == ("partial", 1)
    (reason,) = world.report()["images"][0]["reasons"]
    assert "the broker gave this task up" in reason
    assert world.depth(LOST) == 0


def test_a_small_batch_beside_a_large_one_ends_first(world: "World") -> None:
    world.pictures(300, "large")
    world.pictures(5, "small")
    world.start(window_images=8, window_total=8)
    world.submit(batch_id="large", source="large")
    world.until(lambda: len(world.tasks) > 20)
    world.submit(batch_id="small", source="small")
    world.finish("small")
    assert world.ended("large") is None
    world.finish("large")


def test_intermediates_are_removed_and_again_when_a_late_event_comes(world: "World") -> None:
    world.pictures(2)
    world.start()
    world.stores.work.write("b/0/1/0-0-whole.raw", b"x")
    world.submit(operations=[["copy", 1], ["paste", 1]])
    world.finish()
    world.until(lambda: not list(world.stores.work.list()))
    world.stores.work.write("b/0/1/0-0-whole.raw", b"x")
    world.publish(EVENTS, Events(settled=(Settled(batch="b", image=1),)).to_bytes())
    world.until(lambda: not list(world.stores.work.list()))


def test_nothing_is_removed_for_an_image_that_left_no_intermediates(world: "World") -> None:
    def first_is_direct(task: Task) -> list[Events]:
        if task.image == 2:
            return []  # the batch goes on
        settled = Settled(batch="b", image=task.image, run=task.run, direct=task.image == 0)
        return [Events(settled=(settled,))]

    world.pictures(3)
    world.answer = first_is_direct
    world.start()
    for image in (0, 1):
        world.stores.work.write(f"b/0/{image}/0-0-whole.raw", b"x")
    world.submit(operations=[["copy", 1], ["paste", 1]])
    world.until(lambda: world.stores.work.size("b/0/1/0-0-whole.raw") is None)
    assert world.stores.work.size("b/0/0/0-0-whole.raw") == 1, "asked for, although nothing was said to be there"
    world.publish(EVENTS, Events(settled=(Settled(batch="b", image=2),)).to_bytes())
    world.finish()
    world.until(lambda: not list(world.stores.work.list()))


def test_a_missing_step_queue_delays_and_loses_nothing(world: "World") -> None:
    world.pictures(2)
    coordinator = world.start()
    world.broker.drop_connections("test")
    world.submit()
    assert world.finish().done == 2
    assert coordinator.core.transport.connected
    assert world.depth(step_queue("copy")) == 0
