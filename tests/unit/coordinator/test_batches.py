"""Batches from submission to report, with a real coordinator in a small harness."""

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from muniflow.model.messages import Events, Settled, Task
from muniflow.model.report import image_entry, report_chunks
from muniflow.model.topology import BATCHES, CONTROL, EVENTS, LOST, step_queue
from muniflow.store.folders import LINK
from muniflow.transport.types import OutgoingMessage, PublishProblem
from muniflow_coordinator.notifier import notice_of_row
from muniflow_coordinator.runs.revisions import RUNS_OF_REVISION

if TYPE_CHECKING:
    from tests.unit.coordinator.conftest import CoordinatorHarness


def test_a_batch_runs_and_its_report_names_every_output(harness: "CoordinatorHarness") -> None:
    harness.pictures(3)
    harness.start()
    harness.submit(operations=[["copy", 2], ["paste", 1]], municipality="Utrecht", output="png")
    notice = harness.finish()
    assert (notice.state, notice.total, notice.done, notice.report) == ("done", 3, 3, "b/report.json")
    report = harness.report()
    assert report["municipality"] == "Utrecht"
    assert report["totals"] == {"images": 3, "done": 3, "failed": 0, "cancelled": 0, "outputs": 6, "skipped": 0}
    assert [image["source"] for image in report["images"]] == ["in/0000.jpg", "in/0001.jpg", "in/0002.jpg"]
    assert report["images"][1]["outputs"] == ["b/0001-0.png", "b/0001-1.png"]
    assert [notice.state for notice in harness.notices] == ["running", "done"]


def test_more_images_than_the_window_all_run(harness: "CoordinatorHarness") -> None:
    harness.pictures(60)
    harness.start(window_images=7, window_total=9)
    harness.submit()
    assert harness.finish().done == 60
    assert sorted(task.image for task in harness.tasks) == list(range(60))


@pytest.mark.parametrize("ends", [3, 39])
def test_ends_that_neither_refill_the_window_nor_end_the_batch_wait_for_company(
    harness: "CoordinatorHarness", ends: int
) -> None:
    harness.start_with_held(40, 40, events_linger_s=1)
    harness.let_go(first=ends)
    assert harness.state is not None
    harness.until(lambda: not harness.depth(EVENTS))
    row = harness.state.find("b")
    assert row is not None
    assert row.counts.done == 0
    harness.let_go()
    assert harness.finish().done == 40


def test_what_is_no_image_is_counted_and_named(harness: "CoordinatorHarness") -> None:
    harness.pictures(2)
    (harness.root / "source/in/a.txt").write_text("notes")
    (harness.root / "source/in/link.jpg").symlink_to("0000.jpg")
    harness.start()
    harness.submit()
    notice = harness.finish()
    assert (notice.done, notice.skipped) == (2, 2)
    assert notice.skipped_reasons == {LINK: 1, "text, which is not decoded": 1}
    report = harness.report()
    assert report["totals"]["skipped"] == 2
    assert [entry["source"] for entry in report["skipped"]["named"]] == ["in/link.jpg", "in/a.txt"]
    assert harness.state
    row = harness.state.find("b")
    assert row is not None
    assert notice_of_row(row).skipped == 2  # also after a restart


def test_a_strict_batch_is_refused_for_what_is_no_image(harness: "CoordinatorHarness") -> None:
    harness.pictures(1)
    (harness.root / "source/in/a.txt").write_text("notes")
    harness.start()
    harness.submit(strict=True, wait=False)
    harness.until(lambda: any(notice.state == "rejected" for notice in harness.notices))
    (fault,) = next(notice.faults for notice in harness.notices if notice.state == "rejected")
    assert fault["problem"].startswith("strict: 1 file is not taken: text, which is not decoded (1): in/a.txt")
    harness.submit(wait=False)  # and the same one without: the batch is not known
    harness.until(lambda: harness.notices[-1].state == "done")
    assert harness.notices[-1].skipped == 1


@pytest.mark.parametrize("images", [2, 2005])  # a list of one chunk, and of two
@pytest.mark.parametrize("replaces", [False, True])
def test_outputs_of_an_earlier_run_are_refused_or_removed(
    harness: "CoordinatorHarness", images: int, replaces: bool
) -> None:
    harness.pictures(images)
    old = [image_entry(0, "in/old.jpg", "done", ["b/old-0.png"])]
    output = harness.root / "output/b"
    output.mkdir(parents=True)
    (output / "old-0.png").write_bytes(b"old")
    (output / "report.json").write_bytes(b"".join(report_chunks({"v": 1}, old)))
    harness.start()
    harness.submit(replace=replaces, wait=False)
    harness.until(lambda: bool(harness.notices))
    first = harness.notices[0]
    assert (output / "old-0.png").exists() != replaces
    if replaces:
        assert (first.state, first.replaced) == ("running", 1)
    else:
        assert first.state == "rejected"
        assert "b/old-0.png" in first.faults[0]["problem"]


def test_a_batch_that_is_sent_again_says_that_it_was_run_already(harness: "CoordinatorHarness") -> None:
    harness.pictures(2)
    harness.start()
    harness.submit()
    ended = harness.finish()
    assert ended.already_run_at is None
    harness.pictures(3)
    heard = len(harness.notices)
    harness.submit(wait=False)
    harness.until(lambda: len(harness.notices) > heard)
    again = harness.notices[-1]
    assert harness.state
    row = harness.state.find("b")
    assert row is not None
    assert (again.state, again.total, again.already_run_at) == ("done", 2, row.finished_at)


def _has_heard(harness: "CoordinatorHarness", count: int) -> bool:
    return len(harness.notices) >= count


def test_a_batch_is_run_anew_on_request_under_the_next_revision(harness: "CoordinatorHarness") -> None:
    harness.pictures(2)
    harness.start()
    harness.submit(again="all")
    assert harness.finish().revision is None
    first = harness.report()
    for revision, images in ((2, 3), (3, 1)):
        for path in (harness.root / "source/in").iterdir():
            path.unlink()
        for number in range(images):
            (harness.root / f"source/in/{revision}-{number}.jpg").write_bytes(b"x")
        heard, tasks = len(harness.notices), len(harness.tasks)
        harness.submit(again="all", wait=False)
        harness.until(partial(_has_heard, harness, heard + 2))
        notice = harness.notices[-1]
        assert (notice.state, notice.revision, notice.done) == ("done", revision, images)
        assert {task.run for task in harness.tasks[tasks:]} == {(revision - 1) * RUNS_OF_REVISION}
        assert harness.report()["revision"] == revision
    assert json.loads((harness.root / "output/b/report-r1.json").read_bytes()) == first
    assert (harness.root / "output/b/report-r2.json").exists()
    heard = len(harness.notices)
    harness.submit(wait=False)
    harness.until(lambda: len(harness.notices) > heard)
    assert harness.notices[-1].already_run_at is not None


def test_the_message_of_a_run_again_asks_for_no_other_run(harness: "CoordinatorHarness") -> None:
    harness.pictures(1)
    harness.start()
    body = json.dumps({"batch_id": "b", "source": "in", "operations": [["copy", 1]], "again": "all"}).encode()
    harness.until(lambda: harness.broker.queue(BATCHES) is not None)
    for heard in (2, 3):
        harness.user.publish([OutgoingMessage(BATCHES, body, message_id="one")], lambda _: None)
        harness.until(partial(_has_heard, harness, heard))
    assert [notice.state for notice in harness.notices] == ["running", "done", "done"]
    assert harness.notices[-1].already_run_at is not None
    assert len(harness.tasks) == 1


def test_an_image_that_fails_fails_alone(harness: "CoordinatorHarness", answers: dict[str, Any]) -> None:
    harness.pictures(3)
    harness.answer = lambda task: answers["failed" if task.image == 1 else "all_done"](task)
    harness.start()
    harness.submit()
    notice = harness.finish()
    assert (notice.state, notice.done, notice.failed) == ("partial", 2, 1)
    broken = harness.report()["images"][1]
    assert (broken["state"], broken["outputs"]) == ("failed", [])
    assert broken["reasons"] == ["operations[0] (copy): not an image"]


def test_a_batch_whose_images_all_fail_is_failed(harness: "CoordinatorHarness", answers: dict[str, Any]) -> None:
    harness.pictures(2)
    harness.answer = answers["failed"]
    harness.start()
    harness.submit()
    assert harness.finish().state == "failed"


def test_a_tile_that_fails_is_named(harness: "CoordinatorHarness", answers: dict[str, Any]) -> None:
    def one_tile_fails(task: Task) -> list[Events]:
        good = answers["leaves_of"](task)[1:]
        return [
            Events(settled=(Settled(batch="b", image=0, lineage=((0, 2),), step=1, reason="too small"),)),
            Events(settled=tuple(Settled(batch="b", image=0, lineage=leaf) for leaf in good)),
        ]

    harness.pictures(1)
    harness.answer = one_tile_fails
    harness.start()
    harness.submit(operations=[["copy", 2], ["paste", 1]])
    assert harness.finish().state == "failed"
    assert harness.report()["images"][0]["reasons"] == ["operations[1] (paste), tile 0of2: too small"]


def test_every_message_twice_changes_nothing(harness: "CoordinatorHarness", answers: dict[str, Any]) -> None:
    def twice(task: Task) -> list[Events]:
        leaves = [
            Events(settled=(Settled(batch=task.batch, image=task.image, lineage=leaf),))
            for leaf in answers["leaves_of"](task)
        ]
        return [*leaves, *reversed(leaves)]

    harness.pictures(20)
    harness.answer = twice
    harness.start(window_images=5)
    harness.submit(operations=[["copy", 3], ["paste", 2]])
    harness.submit(operations=[["copy", 3], ["paste", 2]])
    notice = harness.finish()
    assert (notice.done, notice.total) == (20, 20)
    assert harness.report()["totals"]["outputs"] == 120
    harness.until(lambda: harness.depth(EVENTS) == 0)


def test_the_same_batch_again_is_answered_with_its_state(harness: "CoordinatorHarness") -> None:
    harness.pictures(2)
    harness.start()
    harness.submit()
    harness.finish()
    tasks = len(harness.tasks)
    harness.notices.clear()
    harness.submit()
    assert harness.finish().state == "done"
    assert len(harness.tasks) == tasks


def test_the_same_id_with_other_content_is_refused(harness: "CoordinatorHarness") -> None:
    harness.pictures(2)
    harness.start()
    harness.submit()
    harness.finish()
    harness.submit(output="png")
    notice = harness.finish()
    assert notice.state == "rejected"
    assert [fault["place"] for fault in notice.faults] == ["batch_id"]
    harness.until(lambda: len(harness.letters(BATCHES)) == 1)
    row = harness.state.find("b") if harness.state else None
    assert row is not None
    assert row.state == "done"


@pytest.mark.parametrize("destination", ["out", "out/north", "out/north/b", "out/north/b/deep"])
def test_destinations_may_not_be_equal_or_nested(harness: "CoordinatorHarness", destination: str) -> None:
    harness.pictures(1)
    harness.start()
    harness.submit(destination="out/north/b")
    harness.finish()
    harness.submit(batch_id="other", destination=destination)
    notice = harness.finish("other")
    assert (notice.state, notice.faults[0]["place"]) == ("rejected", "destination")


def test_a_neighbour_whose_name_only_begins_alike_is_no_conflict(harness: "CoordinatorHarness") -> None:
    harness.pictures(1)
    harness.start()
    harness.submit(destination="out/b")
    harness.finish()
    harness.submit(batch_id="other", destination="out/bc")
    assert harness.finish("other").state == "done"


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
def test_a_wrong_batch_is_refused_by_its_place_and_kept(harness: "CoordinatorHarness", body: bytes, place: str) -> None:
    harness.start()
    harness.publish(BATCHES, body)
    harness.until(lambda: harness.notices)
    assert harness.notices[0].state == "rejected"
    assert harness.notices[0].faults[0]["place"] == place
    harness.until(lambda: len(harness.letters(BATCHES)) == 1)


@pytest.mark.parametrize("queue", [EVENTS, CONTROL])
def test_a_malformed_message_is_kept_and_harms_nothing(harness: "CoordinatorHarness", queue: str) -> None:
    harness.pictures(2)
    harness.start()
    harness.publish(queue, b'{"settled": 7}')
    harness.until(lambda: len(harness.letters(queue)) == 1)
    harness.submit()
    assert harness.finish().state == "done"


def test_events_of_unknown_batches_images_and_tiles_change_nothing(harness: "CoordinatorHarness") -> None:
    harness.pictures(2)
    harness.hold = True
    harness.start()
    harness.submit(operations=[["copy", 2]])
    harness.until(lambda: len(harness.held) == 2)
    strange = (
        Settled(batch="nobody", image=0),
        Settled(batch="b", image=99, lineage=((0, 2),)),
        Settled(batch="b", image=2**80, lineage=((0, 2),)),
        Settled(batch="b", image=-1, lineage=((0, 2),)),
        Settled(batch="b", image=0),  # a whole image cannot be done on this route
        Settled(batch="b", image=0, lineage=((3, 4),)),
        Settled(batch="b", image=0, run=5, lineage=((0, 2),)),
    )
    harness.publish(EVENTS, Events(settled=strange).to_bytes())
    harness.command("reopen", image=2**80)
    harness.let_go()
    assert harness.finish().done == 2
    harness.publish(EVENTS, Events(settled=strange).to_bytes())
    harness.command("reopen", image=2**80)
    harness.until(lambda: not harness.broker.depths()[EVENTS] + harness.broker.depths()[CONTROL])


def test_faults_are_bounded(harness: "CoordinatorHarness") -> None:
    harness.start()
    harness.submit(source=None, images=[f"../{n}.jpg" for n in range(1000)])
    notice = harness.finish()
    assert len(notice.faults) == 101
    assert notice.faults[-1]["problem"] == "and 900 more faults"


def test_a_task_that_the_broker_gave_up_on_settles_its_image(harness: "CoordinatorHarness") -> None:
    harness.pictures(2)
    harness.start()
    harness.until(lambda: harness.broker.queue(LOST))
    harness.hold = True
    harness.submit()
    harness.until(lambda: len(harness.held) == 2)
    harness.publish(LOST, harness.held.pop(0).body)
    harness.publish(LOST, b"not a task")
    harness.let_go()
    notice = harness.finish()
    assert (notice.state, notice.failed) == ("partial", 1)
    (reason,) = harness.report()["images"][0]["reasons"]
    assert "the broker gave this task up" in reason
    assert harness.depth(LOST) == 0


def test_a_small_batch_beside_a_large_one_ends_first(harness: "CoordinatorHarness") -> None:
    harness.pictures(300, "large")
    harness.pictures(5, "small")
    harness.start(window_images=8, window_total=8)
    harness.submit(batch_id="large", source="large")
    harness.until(lambda: len(harness.tasks) > 20)
    harness.submit(batch_id="small", source="small")
    harness.finish("small")
    assert harness.ended("large") is None
    harness.finish("large")


def test_intermediates_are_removed_and_again_when_a_late_event_comes(harness: "CoordinatorHarness") -> None:
    harness.pictures(2)
    harness.start()
    harness.stores.work.write("b/0/1/0-0-whole.raw", b"x")
    harness.submit(operations=[["copy", 1], ["paste", 1]])
    harness.finish()
    harness.until(lambda: not list(harness.stores.work.list()))
    harness.stores.work.write("b/0/1/0-0-whole.raw", b"x")
    harness.publish(EVENTS, Events(settled=(Settled(batch="b", image=1),)).to_bytes())
    harness.until(lambda: not list(harness.stores.work.list()))


def test_nothing_is_removed_for_an_image_that_left_no_intermediates(harness: "CoordinatorHarness") -> None:
    def first_is_direct(task: Task) -> list[Events]:
        if task.image == 2:
            return []  # the batch goes on
        settled = Settled(batch="b", image=task.image, run=task.run, direct=task.image == 0)
        return [Events(settled=(settled,))]

    harness.pictures(3)
    harness.answer = first_is_direct
    harness.start()
    for image in (0, 1):
        harness.stores.work.write(f"b/0/{image}/0-0-whole.raw", b"x")
    harness.submit(operations=[["copy", 1], ["paste", 1]])
    harness.until(lambda: harness.stores.work.size("b/0/1/0-0-whole.raw") is None)
    assert harness.stores.work.size("b/0/0/0-0-whole.raw") == 1, "asked for, although nothing was said to be there"
    harness.publish(EVENTS, Events(settled=(Settled(batch="b", image=2),)).to_bytes())
    harness.finish()
    harness.until(lambda: not list(harness.stores.work.list()))


def test_a_missing_step_queue_delays_and_loses_nothing(harness: "CoordinatorHarness") -> None:
    harness.pictures(2)
    coordinator = harness.start()
    harness.broker.drop_connections("test")
    harness.submit()
    assert harness.finish().done == 2
    assert coordinator.transport.connected
    assert harness.depth(step_queue("copy")) == 0


def test_the_notice_of_a_running_batch_never_comes_after_that_of_its_end(
    harness: "CoordinatorHarness", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first notice is not confirmed and published again, while the batch ends."""
    monkeypatch.setattr("muniflow_coordinator.notifier.RETRY_DELAY_S", 0.2)
    harness.pictures(2)
    coordinator = harness.start()
    publish, refused = coordinator.transport.publish, list[str]()

    def refuse_the_first(messages: Any, on_settled: Any) -> None:
        if messages[0].routing_key == "batch.accepted" and not refused:
            refused.append("accepted")
            harness.loop.call_later(0, lambda: on_settled(PublishProblem("a test")))
        else:
            publish(messages, on_settled)

    monkeypatch.setattr(coordinator.transport, "publish", refuse_the_first)
    harness.submit()
    harness.finish()
    assert refused
    assert [notice.state for notice in harness.notices] == ["running", "done"]


def test_who_sends_a_batch_again_while_its_end_is_announced_reads_its_end_last(
    harness: "CoordinatorHarness", monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.pictures(1)
    coordinator = harness.start()
    publish, sent = coordinator.transport.publish, list[str]()

    def confirmed_later(messages: Any, on_settled: Any) -> None:
        if messages[0].routing_key == "batch.done" and not sent:
            sent.append("again")
            harness.submit(wait=False)
            publish(messages, lambda problem: harness.loop.call_later(0.3, lambda: on_settled(problem)))
        else:
            publish(messages, on_settled)

    monkeypatch.setattr(coordinator.transport, "publish", confirmed_later)
    harness.submit()
    harness.until(lambda: len(harness.notices) == 3)
    assert [notice.state for notice in harness.notices] == ["running", "done", "done"]
