"""Archiving: the report of an old batch stands for its images, whose rows leave the ledger; questions are answered."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.coordinator.test_erasing import GATEWAY, MARKER, UPLOAD, gone, make_older, places_of, trail

from muniflow.errors import Unavailable
from muniflow.model.keys import upload_folder
from muniflow.model.messages import Events, Settled
from muniflow.model.topology import EVENTS
from muniflow.runtime.failpoints import Failpoints
from muniflow_coordinator.api.routes import Answers
from muniflow_coordinator.cleanup import archived
from muniflow_coordinator.runs.runs import Run

if TYPE_CHECKING:
    from tests.unit.coordinator.conftest import CoordinatorHarness

from tests.unit.coordinator.conftest import all_done, failed

OUT = f"{MARKER}/out"
REPORT = f"{OUT}/report.json"


@dataclass
class Old:
    """A batch of four uploaded images that ended two days ago; one has failed, and the coordinator is stopped."""

    harness: "CoordinatorHarness"
    root: Path

    def start(self, days: float | None = 1.0, **more: Any) -> None:
        """A coordinator that archives after so many days."""
        self.harness.start(archive_after_days=days, **more)

    def archived(self, batch: str = "b") -> bool:
        """Whether nothing of its images is left in the ledger."""
        state = self.harness.state
        row = state.find(batch) if state else None
        return bool(
            state and row and row.archived_at is not None and not state.archiving() and not state.images(row.number)
        )

    def until_archived(self) -> None:
        self.harness.until(self.archived)

    def restart(self, **settings: Any) -> None:
        self.harness.crash()
        self.start(**settings)

    @property
    def answers(self) -> Answers:
        harness = self.harness
        assert harness.state
        assert harness.coordinator
        view = harness.coordinator.view
        unused: Any = None
        return Answers(harness.state, lambda: view, harness.operations, unused, unused, output=harness.stores.output)

    def status(self) -> dict[str, Any]:
        status = self.answers.batch("b")
        assert status
        return status.model_dump()

    def images(self, **query: str) -> tuple[list[dict[str, Any]], int | None]:
        page: Any = self.answers.images("b", query)
        return [image.model_dump() for image in page.images], page.next


@pytest.fixture
def old(harness: "CoordinatorHarness", tmp_path: Path) -> Old:
    for number in range(4):
        harness.stores.source.write(f"{UPLOAD}{MARKER}-{number}.jpg", b"x")
    harness.answer = lambda task: failed(task) if task.image == 2 else all_done(task)
    harness.pictures(1)
    harness.start()
    harness.submit(sender=GATEWAY, source=UPLOAD, municipality=MARKER, name=MARKER, destination=OUT)
    harness.finish()
    for number in (0, 1, 3):
        harness.stores.output.write(f"{OUT}/{MARKER}-{number}-0.jpg", b"out")
    harness.crash()
    make_older(tmp_path, days=2)
    return Old(harness, tmp_path)


def test_status_and_images_are_answered_as_before(old: Old) -> None:
    old.start(days=None)
    status, images = old.status(), old.images()
    pages = [old.images(limit="2"), old.images(limit="2", after="1"), old.images(state="failed")]
    report = old.harness.stores.output.read(REPORT)
    assert status["archived_at"] is None
    old.restart()
    old.until_archived()
    now = old.status()
    assert now["archived_at"]
    assert now | {"archived_at": None} == status
    assert old.images() == images
    assert [old.images(limit="2"), old.images(limit="2", after="1"), old.images(state="failed")] == pages
    assert old.images(after="3") == ([], None)
    assert old.harness.stores.output.read(REPORT) == report
    assert [each.batch_id for each in old.answers.batches({}).batches] == ["b"]


@pytest.mark.parametrize(("days", "expected"), [(None, False), (2.5, False), (1.5, True)])
def test_a_batch_is_archived_once_its_time_has_come(old: Old, days: float | None, *, expected: bool) -> None:
    old.start(days=days)
    old.harness.submit(sender=GATEWAY, batch_id="next")
    old.harness.finish("next")
    if expected:
        old.until_archived()
    assert old.archived() is expected
    assert not old.archived("next")


def changed(report: bytes) -> bytes:
    return report.replace(b'"done"', b'"DONE"', 1)


def counted_otherwise(report: bytes) -> bytes:
    """Whole, and unsealed as of an earlier build: with one image less."""
    lines = report.splitlines()
    return b"\n".join([*lines[:1], *lines[2:-1], b"]}"])


PROBLEMS: dict[str, tuple[Callable[[bytes], bytes | None], str]] = {
    "gone": (lambda _report: None, "its report is not in the output store"),
    "cut off": (lambda report: report[: len(report) // 2], "it is cut off"),
    "changed": (changed, "it was changed after it was written"),
    "another": (lambda report: counted_otherwise(report.replace(b'"b"', b'"c"', 1)), "that of another batch"),
    "fewer": (counted_otherwise, "counts its images otherwise"),
    "no report": (lambda _report: b"{}", "not a report"),
}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_rows_stay_where_the_report_cannot_stand_for_them(
    old: Old, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    change, said = PROBLEMS[problem]
    output = old.harness.stores.output
    report = bytes(output.read(REPORT))
    if (damaged := change(report)) is None:
        output.delete(REPORT)
    else:
        output.write(REPORT, damaged)
    old.start()
    old.harness.until(lambda: said in caplog.text)
    assert "not archived, its images stay in the ledger" in caplog.text
    assert len(old.images()[0]) == 4
    assert old.status()["archived_at"] is None
    output.write(REPORT, report)
    old.restart()
    old.until_archived()


def test_a_batch_whose_report_is_damaged_holds_no_other_up(old: Old) -> None:
    old.start(days=None)
    old.harness.submit(sender=GATEWAY, batch_id="next")
    old.harness.finish("next")
    old.harness.crash()
    make_older(old.root, days=2)
    old.harness.stores.output.delete(REPORT)
    old.start()
    old.harness.until(lambda: old.archived("next"))
    assert not old.archived()


def test_a_store_that_is_away_delays_it(
    old: Old, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: object) -> Iterator[bytes]:
        raise Unavailable("output store", "no answer")

    with monkeypatch.context() as patched:
        patched.setattr(archived, "content_of", away)
        old.start()
        old.harness.until(lambda: "archiving waits: output store" in caplog.text)
    assert len(old.images()[0]) == 4
    assert old.harness.coordinator
    old.harness.coordinator.recovery.retention._look()
    old.until_archived()


@pytest.mark.parametrize("place", ["ledger.before_drop_images", "ledger.after_drop_images"])
def test_a_crash_in_the_middle_is_gone_on_from(old: Old, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("muniflow_coordinator.cleanup.archiver.SLICE", 1)
    old.harness.start(Failpoints.from_env({"MUNIFLOW_FAILPOINTS": f"{place}=fail@*"}), archive_after_days=1.0)
    old.harness.until(lambda: old.harness.state and old.harness.state.archiving())
    assert len(old.images()[0]) == 4  # from the report, however many rows are left
    old.harness.crash()
    old.start(days=None)
    old.until_archived()
    assert len(old.images()[0]) == 4


def test_failed_images_are_not_run_again(old: Old) -> None:
    old.start()
    old.until_archived()
    old.harness.command("reopen", sender=GATEWAY)
    old.harness.command("drop", sender=GATEWAY)
    old.harness.until(lambda: len(told(old)) == 2)
    assert told(old) == ["refused: the batch is archived"] * 2
    assert old.status()["state"] == "partial"
    assert old.status()["failed"] == 1


def told(old: Old) -> list[str]:
    assert old.harness.state
    return [entry.detail for _, entry in old.harness.state.audit(batch="b") if entry.action in {"replay", "drop"}]


def test_a_batch_that_is_opened_again_while_its_report_is_read_stays(old: Old, monkeypatch: pytest.MonkeyPatch) -> None:
    harness, began = old.harness, [0]
    read = archived.ArchivedReport.problem

    def reopened_meanwhile(report: archived.ArchivedReport, stopped: Callable[[], bool]) -> str | None:
        if not began[0]:
            began[0] = 1
            harness.loop.add_callback_threadsafe(lambda: began.append(1))
        found = read(report, stopped)
        assert harness.state
        row = harness.state.find("b")
        assert row
        assert harness.coordinator
        run = Run.of(replace(row, state="running"), harness.clock)
        harness.coordinator.view.runs.add(run)
        return found

    monkeypatch.setattr(archived.ArchivedReport, "problem", reopened_meanwhile)
    old.start()
    harness.until(lambda: len(began) == 2)
    harness.until(lambda: not harness.coordinator or not harness.coordinator.recovery.retention.archiver._busy)
    assert len(old.images()[0]) == 4
    assert old.harness.state
    assert old.harness.state.archiving() == []


def test_the_same_batch_again_has_run_already_and_with_again_runs(old: Old) -> None:
    old.start()
    old.until_archived()
    document: dict[str, Any] = {"source": UPLOAD, "municipality": MARKER, "name": MARKER, "destination": OUT}
    old.harness.submit(sender=GATEWAY, **document)
    old.harness.until(lambda: any(notice.already_run_at for notice in old.harness.notices))
    assert old.archived()
    old.harness.submit(sender=GATEWAY, **document, again="all")
    old.harness.until(lambda: old.harness.ended() and old.status()["revision"] == 2)
    assert old.status()["archived_at"] is None
    assert len(old.images()[0]) == 4


def test_an_event_that_comes_late_changes_nothing(old: Old) -> None:
    old.start()
    old.until_archived()
    before = old.status(), old.images()
    events = Events(settled=(Settled(batch="b", image=0), Settled(batch="b", image=2, reason="late")))
    old.harness.publish(EVENTS, events.to_bytes())
    old.harness.until(lambda: not old.harness.depth(EVENTS))
    assert (old.status(), old.images()) == before


def test_nothing_is_left_of_an_archived_batch_that_is_erased(old: Old) -> None:
    old.start()
    old.until_archived()
    old.harness.command("erase", sender=GATEWAY)
    old.harness.until(lambda: gone(old.harness))
    assert places_of(old.root) == [f"output/{MARKER}"]
    old.harness.until(lambda: len(trail(old.harness)) == 2)
    assert trail(old.harness)[0] == "erased: 3 outputs, 1 reports, 4 uploaded images"


def test_an_erasure_whose_report_is_gone_says_that_outputs_are_left(old: Old) -> None:
    old.start()
    old.until_archived()
    old.harness.stores.output.delete(REPORT)
    old.harness.command("erase", sender=GATEWAY)
    old.harness.until(lambda: gone(old.harness))
    old.harness.until(lambda: len(trail(old.harness)) == 2)
    assert "its report is gone, so look for outputs that are left" in trail(old.harness)[0]


@pytest.mark.parametrize(("image", "counts"), [(1, (2, 1, 1)), (2, (3, 0, 1))])
def test_one_image_of_an_archived_batch_is_erased(old: Old, image: int, counts: tuple[int, int, int]) -> None:
    old.harness.stores.source.write(f"{upload_folder('b', attempt='0f')}{MARKER}-{image}.jpg", b"given up")
    old.start()
    old.until_archived()
    for tries in (1, 2):  # the second one finds it erased
        old.harness.command("erase", sender=GATEWAY, image=image)
        old.harness.until(
            lambda: old.harness.state and not old.harness.state.erasures() and len(trail(old.harness)) == 2 * tries  # noqa: B023
        )
        assert places_of(old.root, f"{MARKER}-{image}") == []
        status = old.status()
        assert (status["done"], status["failed"], status["cancelled"]) == counts
        report = json.loads(bytes(old.harness.stores.output.read(REPORT)))
        assert report["images"][image]["source"] == f"erased-{image}"
        assert old.images(after=str(image - 1), limit="1")[0][0]["source"] == f"erased-{image}"


@pytest.mark.parametrize("days", [1.0, 3.0], ids=["both are due", "archived first"])
def test_what_is_to_be_erased_is_erased(old: Old, days: float) -> None:
    old.start(owner_keep_days={"utrecht": days})
    if days > 2:
        old.until_archived()
        old.harness.crash()
        make_older(old.root, days=2)
        old.start(owner_keep_days={"utrecht": days})
    old.harness.until(lambda: gone(old.harness))
    assert list(old.harness.stores.output.list(f"{OUT}/")) == []
