"""Erasing batches and images: in the stores and in the ledger nothing is left, whatever interrupts it."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from muniflow.errors import Unavailable
from muniflow.model.keys import upload_folder
from muniflow.model.messages import Events, Settled
from muniflow.model.topology import BATCHES, EVENTS
from muniflow.runtime.failpoints import Failpoints
from muniflow.store.erasing import Erased, OutputEraser
from muniflow_coordinator.cleanup import late_outputs

if TYPE_CHECKING:
    from tests.unit.coordinator.conftest import CoordinatorHarness

MARKER = "zwartepad"
"""In names of images, of the batch and of its municipality; never in its id, which the audit trail keeps."""
UPLOAD = upload_folder("b", attempt="1a")
GATEWAY = {"user_id": "gateway", "headers": {"muniflow-owner": "utrecht", "muniflow-by": "key", "muniflow-from": "::1"}}


def places_of(root: Path, marker: str = MARKER) -> list[str]:
    """Files and rows below the harness that hold the marker, in their names or their bytes."""
    found = []
    for path in sorted(root.rglob("*")):
        named = marker in str(path.relative_to(root))
        held = path.is_file() and marker.encode() in path.read_bytes()
        if named or held:
            found.append(str(path.relative_to(root)))
    return [*found, *rows_with(root / "state.sqlite", marker)]


def rows_with(database: Path, marker: str) -> Iterator[str]:
    connection = sqlite3.connect(database)
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for table in tables:
        for row in connection.execute(f'SELECT * FROM "{table}"'):  # noqa: S608 - names of our own
            text = " ".join(cell.decode("latin-1") if isinstance(cell, bytes) else str(cell) for cell in row)
            if marker in text:
                yield f"{table}: {text}"
    connection.close()


@pytest.fixture
def run(harness: "CoordinatorHarness") -> "CoordinatorHarness":
    """A coordinator with a batch of three uploaded images that has ended; the outputs are there."""
    for number in range(3):
        harness.stores.source.write(f"{UPLOAD}{MARKER}-{number}.jpg", b"x")
    harness.stores.source.write(f"{upload_folder('b', attempt='0f')}{MARKER}-0.jpg", b"given up")
    harness.stores.source.write(f"{upload_folder('bb', attempt='0f')}other.jpg", b"of another batch")
    harness.start()
    submit(harness)
    harness.finish()
    for number in range(3):
        harness.stores.output.write(f"{MARKER}/out/{MARKER}-{number}-0.jpg", b"out")
    return harness


def submit(harness: "CoordinatorHarness", **more: Any) -> None:
    document = {"source": UPLOAD, "municipality": MARKER, "name": MARKER, "destination": f"{MARKER}/out", **more}
    harness.submit(sender=GATEWAY, **document)


def erase(harness: "CoordinatorHarness", **chosen: Any) -> None:
    harness.command("erase", sender=GATEWAY, **chosen)


def gone(harness: "CoordinatorHarness", batch: str = "b") -> bool:
    return harness.state is not None and harness.state.find(batch) is None and not harness.state.erasures()


def trail(harness: "CoordinatorHarness") -> list[str]:
    assert harness.state
    return [entry.detail for _, entry in harness.state.audit(batch="b") if entry.action == "delete"]


def test_nothing_is_left_of_a_batch_but_the_audit_trail(run: "CoordinatorHarness", tmp_path: Path) -> None:
    assert len(places_of(tmp_path)) > 10
    erase(run)
    run.until(lambda: gone(run))
    assert places_of(tmp_path) == [f"output/{MARKER}"]  # the folder above its destination, which others may use
    assert [blob.key for blob in run.stores.source.list(".muniflow/uploads/")] == [
        f"{upload_folder('bb', attempt='0f')}other.jpg"
    ]
    run.until(lambda: len(trail(run)) == 2)
    assert trail(run)[0] == "erased: 3 outputs, 1 reports, 4 uploaded images"
    assert run.state
    (_, entry), *_ = run.state.audit(batch="b")
    assert (entry.by, entry.origin, entry.owner) == ("key", "::1", "utrecht")


def test_a_batch_that_runs_is_cancelled_first(harness: "CoordinatorHarness") -> None:
    harness.start_with_held(20, 2, window_images=2)
    harness.command("erase")
    harness.until(lambda: (row := harness.state and harness.state.find("b")) and row.counts.cancelled == 18)
    harness.let_go()
    harness.until(lambda: gone(harness))
    assert list(harness.stores.output.list()) == []


def late(harness: "CoordinatorHarness", image: int = 0) -> None:
    """A worker that lost its connection did a task once more: its output is stored, then it tells."""
    harness.stores.output.write(f"{MARKER}/out/{MARKER}-{image}-0.jpg", b"late")
    harness.publish(EVENTS, Events(settled=(Settled(batch="b", image=image),)).to_bytes())


def test_outputs_that_are_written_after_the_erasure_are_erased(run: "CoordinatorHarness", tmp_path: Path) -> None:
    erase(run)
    run.until(lambda: gone(run))
    late(run)
    run.until(lambda: places_of(tmp_path) == [f"output/{MARKER}"])
    late(run, 2)
    run.until(lambda: places_of(tmp_path) == [f"output/{MARKER}"])


def test_what_a_later_batch_writes_to_the_same_place_stays(run: "CoordinatorHarness") -> None:
    erase(run)
    run.until(lambda: gone(run))
    run.pictures(1)
    run.hold = True
    submit(run, batch_id="later", source="in")
    run.until(lambda: run.held)
    late(run)
    assert run.coordinator
    strangers = run.coordinator.view.runs.strangers
    run.until(lambda: strangers.events == 1 and not run.depth(EVENTS))
    run.let_go()
    assert run.finish("later").state == "done"
    assert run.stores.output.size(f"{MARKER}/out/{MARKER}-0-0.jpg") == 4


def test_a_new_batch_waits_until_the_place_is_erased(
    run: "CoordinatorHarness", monkeypatch: pytest.MonkeyPatch
) -> None:
    erase(run)
    run.until(lambda: gone(run))
    looks = [0]

    def away(_outputs: OutputEraser) -> Erased:
        looks[0] += 1
        raise Unavailable("output store", "no answer")

    with monkeypatch.context() as patched:
        patched.setattr(late_outputs, "RETRY_DELAY_S", 0.02)
        patched.setattr(late_outputs, "_erase", away)
        late(run)
        run.until(lambda: looks[0] == 1)
        run.pictures(1)
        submit(run, batch_id="later", source="in")
        run.until(lambda: looks[0] >= 10 and not run.depth(BATCHES))
        assert run.state
        assert run.state.find("later") is None
    assert run.finish("later").state == "done"
    assert run.stores.output.size(f"{MARKER}/out/{MARKER}-0-0.jpg") is None


@pytest.mark.parametrize("place", ["ledger.before_drop_images", "ledger.after_drop_images"])
def test_a_crash_in_the_middle_is_gone_on_from(run: "CoordinatorHarness", tmp_path: Path, place: str) -> None:
    run.crash()
    run.start(Failpoints.from_env({"MUNIFLOW_FAILPOINTS": f"{place}=fail@*"}))
    erase(run)
    run.until(lambda: not list(run.stores.output.list(f"{MARKER}/out/")))
    run.crash()
    run.start()
    run.until(lambda: gone(run))
    assert places_of(tmp_path) == [f"output/{MARKER}"]


def test_outputs_that_another_report_names_stay(run: "CoordinatorHarness") -> None:
    report = run.report(f"{MARKER}/out") | {"batch_id": "of the local engine"}
    first, *_ = report.pop("images")
    del report["sha256"]
    lines = json.dumps(report | {"images": []}).removesuffix("]}") + "\n" + json.dumps(first) + "\n]}\n"
    run.stores.output.write(f"{MARKER}/out/report-1-of-2.json", lines.encode())
    erase(run)
    run.until(lambda: gone(run))
    left = [blob.key.rpartition("/")[2] for blob in run.stores.output.list(f"{MARKER}/out/")]
    assert left == ["report-1-of-2.json", f"{MARKER}-0-0.jpg"]
    run.until(lambda: len(trail(run)) == 2)
    assert "1 outputs kept that another report names" in trail(run)[0]


def test_one_image_is_erased_and_the_others_stay(run: "CoordinatorHarness", tmp_path: Path) -> None:
    erase(run, image=1)
    run.until(lambda: run.state and not run.state.erasures() and len(trail(run)) == 2)
    assert places_of(tmp_path, f"{MARKER}-1") == []
    assert len(places_of(tmp_path, f"{MARKER}-2")) == 5  # source, output, report, row, database
    assert run.state
    row = run.state.find("b")
    assert row
    assert (row.counts.done, row.counts.cancelled) == (2, 1)
    report = run.report(f"{MARKER}/out")
    assert (report["totals"]["done"], report["totals"]["outputs"], report["images"][1]["source"]) == (2, 2, "erased-1")


def test_an_image_of_a_batch_that_runs_is_not_erased(harness: "CoordinatorHarness") -> None:
    harness.start_with_held(3, 3)
    harness.command("erase", image=0)
    harness.until(lambda: trail(harness))
    assert trail(harness)[0].startswith("refused: image 0 of a batch that runs")
    harness.let_go()
    assert harness.finish().state == "done"


def test_another_owner_erases_nothing(run: "CoordinatorHarness") -> None:
    other = {"user_id": "gateway", "headers": {"muniflow-owner": "zwolle"}}
    run.command("erase", sender=other)
    run.until(lambda: any("another owner" in detail for detail in trail(run)))
    assert run.state
    assert run.state.find("b")
    assert not run.state.erasures()


def test_what_was_refused_is_erased_with_its_faults_and_its_letter(
    harness: "CoordinatorHarness", tmp_path: Path
) -> None:
    harness.start()
    submit(harness, operations=[[MARKER, 1]], destination="d")
    harness.finish()
    harness.until(lambda: harness.state and harness.state.letters())
    assert places_of(tmp_path)
    erase(harness)
    harness.until(lambda: len(trail(harness)) == 1 and gone(harness))
    # The first fault is in the audit trail, too.
    assert [place for place in places_of(tmp_path) if not place.startswith(("audit", "state.sqlite"))] == []


@pytest.mark.parametrize("document", [{"keep_days": 2}, {}], ids=["of the batch", "of its owner"])
def test_a_batch_is_erased_once_it_was_kept_long_enough(
    document: dict[str, Any], harness: "CoordinatorHarness", tmp_path: Path
) -> None:
    harness.pictures(1)
    keep_days = {"utrecht": 3.0 if document else 2.0, "zwolle": 0.1}
    harness.start(owner_keep_days=keep_days)
    harness.submit(sender=GATEWAY, **document)
    harness.finish()
    harness.crash()
    make_older(tmp_path, days=1.9)
    harness.start(owner_keep_days=keep_days)
    harness.submit(sender=GATEWAY, batch_id="next")
    harness.finish("next")
    assert harness.state
    assert harness.state.find("b")
    harness.crash()
    make_older(tmp_path, days=0.2)
    harness.start(owner_keep_days=keep_days)
    harness.until(lambda: gone(harness))
    assert [blob.key for blob in harness.stores.output.list()] == ["next/report.json"]
    assert [entry.by for _, entry in harness.state.audit(batch="b") if entry.action == "delete"] == ["keep_days"]


def test_more_batches_than_are_erased_at_a_time_go_one_after_the_other(
    harness: "CoordinatorHarness", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("muniflow_coordinator.cleanup.retention.AT_ONCE", 2)
    monkeypatch.setattr("muniflow_coordinator.cleanup.retention.PAUSE_S", 0.05, raising=False)
    harness.pictures(1)
    harness.start()
    names = [f"b{number}" for number in range(5)]
    for name in names:
        harness.submit(sender=GATEWAY, batch_id=name)
        harness.finish(name)
    harness.crash()
    make_older(tmp_path, days=2)
    harness.start(owner_keep_days={"utrecht": 1.0})
    harness.until(lambda: harness.state and not any(map(harness.state.find, names)))


def make_older(root: Path, days: float) -> None:
    """As if the batches had ended so many days earlier."""
    with sqlite3.connect(root / "state.sqlite") as connection:
        connection.execute("UPDATE batches SET finished_at = finished_at - ?", [days * 86_400])
    connection.close()
