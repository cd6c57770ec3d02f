"""A second run into one destination: no output of the first stays that no report names."""

import json

import numpy as np
import pytest

from muniflow.images.opencv import cv2
from muniflow_cli.commands import exits
from muniflow_cli.main import run


@pytest.fixture
def batch(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for name in "ab":
        cv2.imwrite(str(tmp_path / f"in/{name}.png"), np.full((8, 8, 3), 99, np.uint8))

    def go(*options, **fields):
        document = {"batch_id": "b", "source": "in/", "operations": [["split", True]], "output": "png", **fields}
        (tmp_path / "b.json").write_text(json.dumps(document))
        return run(["run", "b.json", "--source", ".", "--out", "out", "--jobs", "1", "--json", *options])

    return go


def outputs(tmp_path):
    return sorted(path.name for path in (tmp_path / "out/b").glob("*-*"))


ONE = [["resize", "50%"]]


def test_another_route_is_refused_while_old_tiles_would_stay(batch, tmp_path, capsys):
    assert batch() == exits.OK
    before = outputs(tmp_path)
    assert len(before) == 8
    assert batch(operations=ONE) == exits.USAGE
    said = capsys.readouterr().err
    assert "b/a-1.png, b/a-2.png, b/a-3.png, b/b-1.png, b/b-2.png and 1 more" in said
    assert "--replace" in said
    assert outputs(tmp_path) == before


@pytest.mark.parametrize("how", [{"replace": True}, "--replace"])
def test_they_are_removed_on_request_and_it_is_said(batch, tmp_path, how):
    batch()
    (tmp_path / "out/b/notes-1.txt").write_text("of a person")
    assert (batch(operations=ONE, **how) if isinstance(how, dict) else batch(how, operations=ONE)) == exits.OK
    assert outputs(tmp_path) == ["a-0.png", "b-0.png", "notes-1.txt"]
    assert json.loads((tmp_path / "out/b/report.json").read_text())["replaced"] == 8


@pytest.mark.parametrize("fields", [{"output": "jpg"}, {"images": ["a.png"]}, {"batch_id": "c", "destination": "b"}])
def test_what_else_would_leave_old_outputs(batch, fields):
    batch()
    assert batch(**fields) == (exits.OK if fields.get("batch_id") else exits.USAGE)


def test_what_leaves_none_runs(batch, tmp_path):
    assert batch(operations=ONE) == exits.OK
    assert batch(operations=ONE) == exits.OK
    assert batch(operations=[["resize", "25%"]]) == exits.OK
    assert batch() == exits.OK
    assert len(outputs(tmp_path)) == 8


def test_a_share_removes_nothing(batch, capsys):
    batch()
    assert batch("--shard", "1/2", "--replace") == exits.USAGE
    assert "not for a share" in capsys.readouterr().err


def test_a_list_that_is_refused_removes_nothing(batch, tmp_path):
    batch()
    (tmp_path / "in/c.txt").write_text("notes")
    assert batch("--replace", "--strict", operations=ONE) == exits.USAGE
    assert len(outputs(tmp_path)) == 8


def test_a_batch_is_run_again_under_the_next_revision_and_its_report_is_kept(batch, tmp_path):
    assert batch() == exits.OK
    first = (tmp_path / "out/b/report.json").read_bytes()
    (tmp_path / "in/b.png").rename(tmp_path / "in/c.png")
    assert batch("--again", "all") == exits.OK
    assert (tmp_path / "out/b/report-r1.json").read_bytes() == first
    assert json.loads((tmp_path / "out/b/report.json").read_bytes())["revision"] == 2
    assert batch(again="all") == exits.OK
    assert json.loads((tmp_path / "out/b/report.json").read_bytes())["revision"] == 3
