"""Failures and letters, from the broker to the ledger and back."""

from typing import TYPE_CHECKING, Any

import pytest

from muniflow.model.messages import Command, Events, Settled, Task
from muniflow.model.topology import BATCHES, CONTROL, EVENTS, dead_queue, step_queue
from muniflow.reason_codes import ReasonCode
from muniflow_coordinator.api.failures import FailureAnswers
from muniflow_coordinator.handlers import commands, dead_letters
from muniflow_coordinator.state.failure_types import ANY, Chosen, LetterLimits

if TYPE_CHECKING:
    from tests.unit.coordinator.conftest import CoordinatorHarness

CODES: tuple[ReasonCode, ReasonCode] = ("image_damaged", "source_missing")


def failing(harness: "CoordinatorHarness", bad: Any) -> None:
    """The worker fails the images for which `bad` holds, and keeps their tasks, as workers of the build before do."""

    def answer(task: Task) -> list[Events]:
        if not bad(task):
            return [Events(settled=tuple(task.part_done(lineage) for lineage in task.lineages))]
        harness.publish(dead_queue(step_queue(task.op)), task.to_bytes(), wait=False)
        return [Events(settled=task.failed("no", CODES[task.image % 2]))]

    harness.answer = answer


def groups(harness: "CoordinatorHarness", chosen: Chosen = ANY) -> dict[tuple[str, str], int]:
    assert harness.state
    return {(group.batch_id, group.reason_code): group.images for group in harness.state.failure_groups(chosen)}


def letters(harness: "CoordinatorHarness") -> list[Any]:
    assert harness.state
    return harness.state.letters()


def start_with_failures(harness: "CoordinatorHarness", batches: tuple[str, ...] = ("b",)) -> None:
    harness.pictures(10)
    failing(harness, lambda task: task.image < 6)
    harness.start()
    for batch in batches:
        harness.submit(batch_id=batch)
        assert harness.finish(batch).state == "partial"


def send(harness: "CoordinatorHarness", **command: Any) -> None:
    harness.publish(CONTROL, Command(**command).to_bytes(), sender={"user_id": "ops"})


def test_the_queues_stay_empty_and_the_ledger_knows_every_failure(harness: "CoordinatorHarness") -> None:
    start_with_failures(harness)
    harness.until(lambda: harness.depth(dead_queue(step_queue("copy"))) == 0)
    assert groups(harness) == {("b", "image_damaged"): 3, ("b", "source_missing"): 3}
    assert groups(harness, Chosen(operation="copy", reason_code="source_missing")) == {("b", "source_missing"): 3}
    assert groups(harness, Chosen(operation="blur")) == {}
    assert letters(harness) == []


def test_a_replay_of_one_reason_leaves_the_others(
    harness: "CoordinatorHarness", monkeypatch: "pytest.MonkeyPatch"
) -> None:
    monkeypatch.setattr(commands, "SLICE", 2)
    start_with_failures(harness)
    failing(harness, lambda _task: False)
    harness.notices.clear()
    send(harness, action="reopen", batch="b", reason_code="image_damaged", operation="copy")
    assert (harness.finish().state, harness.finish().failed) == ("partial", 3)
    assert groups(harness) == {("b", "source_missing"): 3}
    harness.notices.clear()
    send(harness, action="reopen", batch="b")
    assert harness.finish().state == "done"
    assert groups(harness) == {}


def test_a_replay_of_everything_is_one_command_and_changes_nothing_twice(harness: "CoordinatorHarness") -> None:
    start_with_failures(harness, ("b", "c"))
    failing(harness, lambda _task: False)
    harness.notices.clear()
    for _ in range(2):
        send(harness, action="reopen")
    assert {harness.finish("b").state, harness.finish("c").state} == {"done"}
    harness.until(lambda: not harness.depth(CONTROL))
    tasks = [(task.batch, task.image, task.run) for task in harness.tasks]
    assert len(tasks) == len(set(tasks)) == 20 + 12


def test_what_is_dropped_is_listed_and_replayed_no_more_and_stays_failed(
    harness: "CoordinatorHarness", monkeypatch: "pytest.MonkeyPatch"
) -> None:
    monkeypatch.setattr(commands, "SLICE", 2)
    start_with_failures(harness)
    send(harness, action="drop", batch="b", reason_code="image_damaged")
    harness.until(lambda: groups(harness) == {("b", "source_missing"): 3})
    send(harness, action="drop", batch="b", image=1)
    harness.until(lambda: groups(harness) == {("b", "source_missing"): 2})
    send(harness, action="drop")
    harness.until(lambda: groups(harness) == {})
    assert harness.state
    assert len(harness.state.images(1, state="failed")) == 6


def test_what_is_no_task_keeps_its_body_once_and_is_replayed_or_dropped(harness: "CoordinatorHarness") -> None:
    harness.pictures(2)
    harness.start()
    harness.publish(EVENTS, b'{"settled": 7}')
    harness.publish(BATCHES, b"{")
    harness.until(lambda: len(letters(harness)) == 2)
    first, second = letters(harness)
    assert {first.body, second.body} == {b'{"settled": 7}', b"{"}
    assert "rejected" in first.reason
    send(harness, action="replay_letter", letter=first.number)  # it is refused again, and kept as another one
    send(harness, action="drop_letter", letter=second.number)
    harness.until(lambda: [letter.body for letter in letters(harness)] == [first.body])
    assert letters(harness)[0].number > second.number
    send(harness, action="replay_letter", letter=99)
    harness.submit()
    assert harness.finish().state == "done"


def test_the_task_of_a_batch_that_the_ledger_does_not_know_is_kept(harness: "CoordinatorHarness") -> None:
    start_with_failures(harness)
    task = harness.tasks[0].model_copy(update={"batch": "forgotten"}).to_bytes()
    harness.publish(dead_queue(step_queue("copy")), task)
    harness.until(lambda: letters(harness))
    assert [(letter.batch, letter.body) for letter in letters(harness)] == [("forgotten", task)]


def test_letters_that_a_crash_leaves_come_again_and_are_kept_once(harness: "CoordinatorHarness") -> None:
    harness.start()
    for _ in range(2):
        harness.publish(dead_queue(BATCHES), b"{")
        harness.crash()
        harness.start()
    harness.until(lambda: not harness.depth(dead_queue(BATCHES)) and len(letters(harness)) == 2)


def test_a_flood_of_letters_drops_the_oldest_and_says_so(
    harness: "CoordinatorHarness", monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(dead_letters, "LETTER_LIMITS", LetterLimits(max_letters=3))
    monkeypatch.setattr(dead_letters, "TRIM_BYTES", 5 * dead_letters.EACH_BYTES)
    harness.start()
    for number in range(5):
        harness.publish(dead_queue(BATCHES), b"%d" % number, wait=False)
    harness.until(lambda: harness.letters(BATCHES) == [b"2", b"3", b"4"])
    assert [record.dropped for record in caplog.records if hasattr(record, "dropped")] == [2]


def test_failures_come_in_pages(harness: "CoordinatorHarness") -> None:
    start_with_failures(harness, ("b", "c"))
    assert harness.state
    answers = FailureAnswers(harness.state)
    seen, query = [], {"limit": "5", "operation": "copy"}
    while True:
        page = answers.failures(query)
        seen += [(each.batch_id, each.reason_code, each.image) for each in page.failures]
        if page.next is None:
            break
        query["after"] = page.next
    assert seen == [
        (batch, code, image) for batch in ("b", "c") for place, code in enumerate(CODES) for image in range(place, 6, 2)
    ]
    [one] = answers.failures({"batch": "c", "image": "3"}).failures
    assert (one.source, one.reasons) == ("in/0003.jpg", ("operations[0] (copy): no",))
    assert one.failed_at
    assert answers.failures({"batch": "unknown"}).failures == ()
    assert answers.counts({"batch": "unknown"}).groups == ()


def test_a_failure_without_a_code_is_counted_as_unknown(harness: "CoordinatorHarness") -> None:
    harness.pictures(1)
    harness.answer = lambda task: [Events(settled=(Settled(batch=task.batch, image=0, reason="no"),))]
    harness.start()
    harness.submit()
    harness.finish()
    assert groups(harness) == {("b", "unknown"): 1}


def test_a_rejected_batch_is_kept_with_every_fault_also_after_a_restart(harness: "CoordinatorHarness") -> None:
    harness.start()
    many = [f"../{n}.jpg" for n in range(150)]
    harness.submit(municipality="Utrecht", name="Canal houses", source=None, images=many)
    harness.publish(BATCHES, b"{")
    harness.until(lambda: len(harness.notices) == 2)
    assert len(harness.notices[0].faults) < 150, "a notice names some of them"
    harness.crash()
    harness.start()
    assert harness.state
    answers = FailureAnswers(harness.state)
    harness.until(lambda: not harness.depth(BATCHES))
    unnamed, named = answers.rejections({}).rejections
    assert (named.batch_id, named.name, named.municipality) == ("b", "Canal houses", "Utrecht")
    assert (unnamed.batch_id, unnamed.name) == ("", "")
    assert [(notice.name, notice.municipality) for notice in harness.notices] == [
        ("Canal houses", "Utrecht"),
        (None, ""),
    ]
    assert len(named.faults) >= 150
    assert answers.rejections({"batch": "b"}).rejections == (named,)
    assert answers.rejections({"limit": "1"}).next


def test_rejections_and_letters_are_forgotten_in_time(harness: "CoordinatorHarness") -> None:
    """Also where no batch is refused any more."""
    harness.start()
    harness.publish(BATCHES, b"{")
    harness.until(lambda: harness.letters(BATCHES))
    harness.crash()
    harness.start(kept_days=1e-9)
    harness.until(lambda: not harness.letters(BATCHES))
    assert harness.state
    assert harness.state.rejections() == []


def test_events_of_batches_that_the_ledger_does_not_know_are_counted_named_and_acknowledged(
    harness: "CoordinatorHarness",
) -> None:
    harness.pictures(2)
    harness.start()
    lost = Events(settled=tuple(Settled(batch="forgotten", image=n) for n in range(3)))
    for _ in range(2):
        harness.publish(EVENTS, lost.to_bytes())
    assert harness.coordinator
    strangers = harness.coordinator.view.runs.strangers
    harness.until(lambda: strangers.events == 6 and not harness.depth(EVENTS))
    assert strangers.batches == ("forgotten",)
    for n in range(50):
        strangers.count(f"b{n}", 1)
    assert (len(strangers.batches), strangers.batches[-1], strangers.events) == (20, "b49", 56)
    harness.submit()
    assert harness.finish().state == "done"
    assert strangers.events == 56
