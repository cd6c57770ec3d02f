"""A batch that is sent again runs what has changed since, and keeps the rest."""

import os
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from muniflow.model.messages import Events, Settled, Task, output_name
from muniflow_coordinator.runs.revisions import first_run

if TYPE_CHECKING:
    from tests.unit.coordinator.conftest import CoordinatorHarness

DIGEST = "a" * 64


def writing(harness: "CoordinatorHarness", task: Task) -> list[Events]:
    """A worker that leaves an output, and says what it has kept."""
    path = harness.root / "output" / task.destination / output_name(task.stem, 0, task.encoding)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(task.source.encode())
    sums = {"source_sha256": DIGEST, "outputs_sha256": (DIGEST,)} if task.checksums else {}
    said: dict[str, Any] = {"metadata": ("place", "time"), **sums}
    return [Events(settled=(Settled(batch=task.batch, image=task.image, run=task.run, **said),))]


@pytest.fixture
def nightly(harness: "CoordinatorHarness") -> "CoordinatorHarness":
    """A batch of four images that was run once."""
    harness.answer = partial(writing, harness)
    for name in "abcd":
        put(harness, f"{name}.jpg")
    harness.start()
    harness.submit(again="changed", checksums=True, metadata="gps")
    harness.finish()
    harness.tasks.clear()
    return harness


def put(harness: "CoordinatorHarness", name: str, body: bytes = b"x") -> None:
    path = harness.root / "source/in" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)


def _heard(harness: "CoordinatorHarness", count: int) -> bool:
    return len(harness.notices) >= count


def again(harness: "CoordinatorHarness", **fields: Any) -> list[str]:
    """Send it again, to its end; returns the sources that were run."""
    heard = len(harness.notices)
    harness.submit(wait=False, **{"again": "changed", "checksums": True, "metadata": "gps", **fields})
    harness.until(partial(_heard, harness, heard + 2))
    ran = [task.source for task in harness.tasks]
    harness.tasks.clear()
    return sorted(ran)


def test_only_what_changed_is_run_and_the_report_says_the_rest(nightly: "CoordinatorHarness") -> None:
    before = nightly.report()
    put(nightly, "b.jpg", b"larger")
    put(nightly, "new.jpg")
    (nightly.root / "source/in/d.jpg").unlink()
    assert again(nightly) == ["in/b.jpg", "in/new.jpg"]
    notice = nightly.notices[-1]
    assert (notice.state, notice.revision, notice.done, notice.kept, notice.gone) == ("done", 2, 4, 2, 1)
    report = nightly.report()
    assert (report["revision"], report["kept"], report["totals"]["done"]) == (2, 2, 4)
    assert report["gone"] == {"count": 1, "sources": ["in/d.jpg"]}
    made = {entry["source"]: entry.get("revision") for entry in report["images"]}
    assert made == {"in/a.jpg": 1, "in/b.jpg": None, "in/c.jpg": 1, "in/new.jpg": None}
    kept = {name: value for name, value in report["images"][0].items() if name != "revision"}
    assert kept == before["images"][0]
    assert (kept["metadata"], kept["source_sha256"]) == (["place", "time"], DIGEST)
    assert (nightly.root / "output/b/d-0.jpg").exists(), "report-r1.json names it"
    assert again(nightly) == []


def test_a_run_in_which_nothing_changed_ends_at_once(nightly: "CoordinatorHarness") -> None:
    for revision in (2, 3):
        assert again(nightly) == []
        notice = nightly.notices[-1]
        assert (notice.state, notice.revision, notice.done, notice.kept) == ("done", revision, 4, 4)
        assert {entry["revision"] for entry in nightly.report()["images"]} == {1}
    assert nightly.state
    row = nightly.state.find("b")
    assert row is not None
    assert row.state == "done"


def test_time_alone_an_output_that_is_gone_and_a_failure_are_reasons_to_run(nightly: "CoordinatorHarness") -> None:
    os.utime(nightly.root / "source/in/a.jpg", (1.0, 1.0))
    (nightly.root / "output/b/c-0.jpg").unlink()
    assert again(nightly) == ["in/a.jpg", "in/c.jpg"]

    def failing(task: Task) -> list[Events]:
        event = Settled.failure(task.batch, task.image, task.run, reason="no", code="image_damaged")
        return [Events(settled=(event,))]

    put(nightly, "d.jpg", b"broken")
    nightly.answer = failing
    assert again(nightly) == ["in/d.jpg"]
    nightly.answer = partial(writing, nightly)
    assert again(nightly) == ["in/d.jpg"]


@pytest.mark.parametrize("manifest", [True, False])
def test_named_images_are_held_against_the_store(harness: "CoordinatorHarness", *, manifest: bool) -> None:
    harness.answer = partial(writing, harness)
    names = ["c.jpg", "a.jpg", "missing.jpg", "b.jpg"]
    for name in names:
        if name != "missing.jpg":
            put(harness, name)
    put(harness, "list.txt", "\n".join(names).encode())
    listed: dict[str, Any] = {"manifest": "in/list.txt"} if manifest else {"images": names}
    harness.start()
    harness.submit(again="changed", **listed)
    harness.finish()
    harness.tasks.clear()
    put(harness, "a.jpg", b"other")
    assert again(harness, checksums=False, metadata="strip", **listed) == ["in/a.jpg", "in/missing.jpg"]


def test_replace_removes_the_outputs_of_sources_that_are_gone_and_no_others(nightly: "CoordinatorHarness") -> None:
    (nightly.root / "source/in/d.jpg").unlink()
    assert again(nightly, replace=True) == []
    assert nightly.notices[-1].replaced == 1
    outputs = {path.name for path in (nightly.root / "output/b").glob("*.jpg")}
    assert outputs == {"a-0.jpg", "b-0.jpg", "c-0.jpg"}
    assert nightly.report()["replaced"] == 1


def test_a_crash_while_the_rest_runs_runs_only_the_rest(nightly: "CoordinatorHarness") -> None:
    put(nightly, "b.jpg", b"larger")
    nightly.hold = True
    nightly.submit(wait=False, again="changed", checksums=True, metadata="gps")
    nightly.until(lambda: len(nightly.held) == 1)
    nightly.crash()
    nightly.start()
    nightly.let_go()
    nightly.until(lambda: nightly.notices[-1].state == "done" and nightly.notices[-1].revision == 2)
    assert {task.source for task in nightly.tasks} == {"in/b.jpg"}
    assert {task.run for task in nightly.tasks} == {first_run(2)}
    assert [entry.get("revision") for entry in nightly.report()["images"]] == [1, None, 1, 1]
