"""`muniflow run --again changed`: what has not changed is kept, on any number of cores."""

import json
import os
import shutil
from pathlib import Path

import pytest

from muniflow_cli.commands import exits
from muniflow_cli.main import run

EXAMPLE = Path(__file__).parents[3] / "examples/images/coffee.png"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "source").mkdir()
    for name in ("a.png", "b.png", "c.png"):
        shutil.copy(EXAMPLE, tmp_path / "source" / name)
    return tmp_path


def run_batch(folder, *options, code=exits.OK, **fields):
    document = {"batch_id": "b", "source": "", "operations": [["resize", "10%"], ["split", "2x1"]], "output": "png"}
    (folder / "batch.json").write_text(json.dumps({**document, **fields}))
    called = ["run", "batch.json", "--source", "source", "--out", "out", "--again", "changed", *options]
    if "--jobs" not in options:
        called += ["--jobs", "1"]  # no processes where they are not the point
    assert run(called) == code


def report(folder):
    return json.loads((folder / "out/b/report.json").read_text())


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in (folder / "out/b").glob("*.png")}


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_what_has_not_changed_is_kept(folder, jobs, capsys):
    run_batch(folder, "--jobs", jobs)
    before, written = report(folder), times(folder)
    os.utime(folder / "source/b.png", (1.0, 1.0))
    (folder / "source/c.png").unlink()
    capsys.readouterr()
    run_batch(folder, "--jobs", jobs)
    said = capsys.readouterr().out
    assert "kept: 1 images" in said
    assert "gone: 1 sources" in said
    after, now = report(folder), times(folder)
    assert (after["revision"], after["kept"], after["gone"]) == (2, 1, {"count": 1, "sources": ["c.png"]})
    assert [entry.get("revision") for entry in after["images"]] == [1, None]
    assert {**after["images"][0], "revision": None} == {**before["images"][0], "revision": None}
    assert {name for name in now if now[name] == written[name]} == {"a-0.png", "a-1.png", "c-0.png", "c-1.png"}
    run_batch(folder, "--jobs", jobs, "--replace")
    assert report(folder)["kept"] == 2
    assert [entry["revision"] for entry in report(folder)["images"]] == [1, 2]


def test_another_route_into_the_same_destination_keeps_nothing(folder):
    run_batch(folder)
    run_batch(folder, operations=[["resize", "20%"], ["split", "2x1"]])
    assert "kept" not in report(folder)
    run_batch(folder, operations=[["resize", "20%"], ["split", "2x1"]], color="keep")
    assert "kept" not in report(folder)


def test_digests_that_are_wanted_and_not_known_are_a_reason_to_run(folder):
    run_batch(folder)
    run_batch(folder, "--checksums")
    assert "kept" not in report(folder)
    run_batch(folder, "--checksums")
    assert report(folder)["kept"] == 3
    assert all(entry["source_sha256"] for entry in report(folder)["images"])


def test_a_share_knows_no_report_of_the_whole(folder, capsys):
    run_batch(folder, "--shard", "1/2", code=exits.USAGE)
    assert "again: `changed` is not for a share" in capsys.readouterr().err
