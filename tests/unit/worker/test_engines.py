"""One meaning: every engine gives the same bytes."""

import hashlib
import json
import random

import numpy as np
import pytest
from tests.support.compute_help import SUPPORT, context, files, picture, route, run_hop_by_hop, spec, write_source
from tests.support.worker_help import run_over_memory_broker
from tests.unit.images import profiles

from muniflow.errors import Invalid
from muniflow.images.header import read_header
from muniflow.images.profile import kept_profile
from muniflow.model.batch import Batch
from muniflow.model.checksums import ImageSums
from muniflow.model.ledger import Ledger
from muniflow.model.messages import Encoding
from muniflow.model.rendering import Rendering
from muniflow.store.listing import first_task, iter_images
from muniflow_cli.engine.local import run_batch

SIZES = [(120, 90), (64, 64), (33, 71), (200, 50), (5, 4)]
STEPS = ("half", "quarter", "smooth", "quarter", "smooth")


def batch(**fields):
    values = {
        "batch_id": "b", "municipality": "", "source": "", "images": None, "manifest": None, "route": route(*STEPS),
        "encoding": Encoding(format="jpg"), "destination": "out", "decode": "exact", "weight": 1, "fingerprint": "f",
    }  # fmt: skip
    return Batch(**{**values, **fields})


@pytest.fixture
def sources(tmp_path):
    for number, (width_px, height_px) in enumerate(SIZES):
        write_source(tmp_path, f"{number}.jpg", picture(width_px, height_px, number))
    (tmp_path / "source/broken.jpg").write_bytes(b"no image")
    return tmp_path


def local(root, into, jobs):
    run_spec = spec(root, output_url=str(root / into), work_url=str(root / f"{into}-work"))
    return run_batch(batch(), run_spec, jobs=jobs, python_path=(str(SUPPORT),))


def test_all_engines_give_the_same_bytes(sources):
    results = {jobs: local(sources, f"jobs-{jobs}", jobs) for jobs in (1, 2)}
    source = context(sources).source
    tasks = [first_task(batch(), ref) for ref in iter_images(batch(), source)]
    for first in tasks:
        run_hop_by_hop(first, sources)
    run_over_memory_broker(sources, tasks, spec(sources, output_url=str(sources / "broker")))
    expected = files(sources / "output/out")
    # 5x4 becomes 2x2, whose quarters cannot be cut again; the other four give 16 each.
    assert len(expected) == 64
    for into in ("jobs-1", "jobs-2", "broker"):
        found = dict(files(sources / into / "out"))
        report = found.pop("report.json", None)
        assert found == expected, into
        assert (report is None) == (into == "broker")
    for result in results.values():
        assert (result.state, result.done, result.failed, result.outputs) == ("partial", 4, 2, 64)


def test_all_engines_give_the_same_checksums(sources):
    """Through chained steps, and with a process for each step that takes the source's along."""
    chosen = batch(checksums=True)
    reports = {}
    for jobs in (1, 2):
        run_spec = spec(sources, output_url=str(sources / f"{jobs}"), work_url=str(sources / f"{jobs}-work"))
        result = run_batch(chosen, run_spec, jobs=jobs, python_path=(str(SUPPORT),))
        reports[jobs] = json.loads((sources / f"{jobs}" / result.report).read_text())["images"]
    assert reports[1] == reports[2]
    ledger = Ledger(chosen.route)
    for ref, entry in zip(iter_images(chosen, context(sources).source), reports[1], strict=True):
        task = first_task(chosen, ref)
        ledger.open(ref.n, 0)
        events = run_hop_by_hop(task, sources)
        shuffled = random.Random(ref.n).sample(events, len(events))  # noqa: S311 - an order, no secret
        (settled,) = ledger.apply(shuffled).settled
        sums = settled.sums or ImageSums(None, ())
        assert (entry["source_sha256"], entry["outputs_sha256"]) == (sums.source, list(sums.outputs))
        assert (sums.source is None) == (entry["state"] == "failed")
        for key, digest in zip(entry["outputs"], entry["outputs_sha256"], strict=True):
            assert hashlib.sha256((sources / "output" / key).read_bytes()).hexdigest() == digest
    assert sum(len(entry["outputs_sha256"]) for entry in reports[1]) == 64


def test_all_engines_give_the_same_bytes_with_alpha_and_a_kept_profile(tmp_path):
    for number, (width_px, height_px) in enumerate(SIZES[:2]):
        alpha = np.indices((height_px, width_px)).sum(0).astype(np.uint8)
        pixels = np.dstack([picture(width_px, height_px, number), alpha])
        write_source(tmp_path, f"{number}.png", pixels, profile=profiles.wide())
    chosen = batch(encoding=Encoding(format="webp"), rendering=Rendering(color="keep"), route=route("half", "quarter"))
    run_spec = spec(tmp_path, output_url=str(tmp_path / "local"), work_url=str(tmp_path / "local-work"))
    result = run_batch(chosen, run_spec, jobs=1, python_path=(str(SUPPORT),))
    assert (result.state, result.outputs) == ("done", 8)
    tasks = [first_task(chosen, ref) for ref in iter_images(chosen, context(tmp_path).source)]
    run_over_memory_broker(tmp_path, tasks, spec(tmp_path, output_url=str(tmp_path / "broker")))
    found = dict(files(tmp_path / "local/out"))
    assert json.loads(found.pop("report.json"))["color"] == "keep"
    assert found == files(tmp_path / "broker/out")
    for data in found.values():
        header = read_header(memoryview(data))
        assert (kept_profile(memoryview(data), header), header.alpha) == (profiles.wide(), "straight")


def test_the_report_is_the_same_whatever_the_number_of_jobs(sources):
    reports = []
    for jobs in (1, 2):
        result = local(sources, f"jobs-{jobs}", jobs)
        report = json.loads((sources / f"jobs-{jobs}" / result.report).read_text())
        assert report.pop("times")["seconds"] == report.pop("forecast")["actual_s"] >= 0
        del report["sha256"]  # of all of it, with its times
        reports.append(report)
    assert reports[0] == reports[1]
    by_source = {entry["source"]: entry for entry in reports[0]["images"]}
    assert by_source["broken.jpg"]["state"] == "failed"
    assert by_source["4.jpg"]["reasons"] == [
        f"operations[3] (quarter), tile {tile}of4: 1x1 is too small to cut" for tile in range(4)
    ]
    assert by_source["0.jpg"]["outputs"] == [f"out/0-{index}.jpg" for index in range(16)]
    assert reports[0]["totals"] == {"images": 6, "done": 4, "failed": 2, "cancelled": 0, "outputs": 64, "skipped": 0}


def test_intermediates_are_gone_in_the_end(sources):
    local(sources, "one", 1)
    local(sources, "two", 2)
    assert files(sources / "one-work") == files(sources / "two-work") == {}


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_step_that_is_not_there_is_said_before_anything_runs(sources, jobs):
    with pytest.raises(Invalid, match="sharpen not installed here"):
        run_batch(batch(), spec(sources, operations=("sharpen",)), jobs=jobs, python_path=(str(SUPPORT),))
    assert files(sources / "output") == {}


def test_a_crash_in_parallel_fails_one_image(sources):
    crashing = batch(route=route(("abort", {"width_px": 33})))
    result = run_batch(crashing, spec(sources), jobs=2, python_path=(str(SUPPORT),))
    assert (result.done, result.failed) == (4, 2)
    report = json.loads((sources / "output" / result.report).read_text())
    assert "SIGABRT" in report["images"][2]["reasons"][0]


@pytest.fixture
def photos(tmp_path):
    """A folder that is source and output store, with an original that has the name of an output."""
    write_source(tmp_path, "photos/a.jpg", picture(40, 30, 1))
    write_source(tmp_path, "photos/a-0.jpg", picture(40, 30, 2))
    for manifest in ("list.txt", "photos/list.txt"):
        (tmp_path / "source" / manifest).write_text("photos/a.jpg\n")
    return tmp_path / "source"


AMONG_SOURCES = [
    {"source": "photos/", "destination": "photos"},
    {"source": "photos/", "destination": "photos/out"},
    {"source": "", "destination": "out"},
    {"source": "photos/", "images": ("a.jpg",), "destination": "photos"},
    {"images": ("photos/a.jpg",), "destination": "photos"},
    {"manifest": "list.txt", "destination": "photos"},
    {"manifest": "photos/list.txt", "destination": "photos"},
]


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("fields", AMONG_SOURCES)
def test_outputs_among_the_sources_are_refused_before_any_work(photos, fields, jobs):
    before = files(photos)
    run_spec = spec(photos.parent, output_url=str(photos))
    told: list[object] = []

    with pytest.raises(Invalid, match=r"destination: outputs would be written to .*among the sources"):
        run_batch(batch(**fields), run_spec, jobs=jobs, on_start=told.append, python_path=(str(SUPPORT),))

    assert (files(photos), told) == (before, [])


def test_a_link_to_the_source_root_is_the_source_root(photos, tmp_path):
    (tmp_path / "elsewhere").symlink_to(photos)
    with pytest.raises(Invalid, match="among the sources"):
        run_batch(batch(source="photos/", destination="photos"), spec(tmp_path, output_url=str(tmp_path / "elsewhere")))


def test_another_folder_of_the_same_store_takes_outputs(photos):
    run_spec = spec(photos.parent, output_url=str(photos))

    for _ in range(2):  # the second run writes over the outputs of the first, and finds the same sources
        result = run_batch(batch(source="photos/", destination="results/city"), run_spec)

        assert (result.state, result.done) == ("done", 2)


@pytest.mark.parametrize("work", ["source", "source/photos", "", "output", "output/b"])
def test_intermediates_among_sources_or_outputs_are_refused(photos, work):
    before = files(photos)
    with pytest.raises(Invalid, match="MUNIFLOW_WORK_URL: the work store is, holds or lies in"):
        run_batch(batch(source="photos/"), spec(photos.parent, work_url=str(photos.parent / work)))
    assert files(photos) == before
