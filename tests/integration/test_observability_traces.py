"""One trace for each image through every process of a live stack, collected from the files that they write."""

import json
from collections import Counter

import pytest
from tests.integration.stacks import CommandLine

pytestmark = pytest.mark.timeout(240)
TILES = 4


def spans_of(folder):
    return [json.loads(line) for path in folder.glob("*.jsonl") for line in path.read_text().splitlines()]


def test_the_tree_of_every_image(tmp_path, broker):
    pytest.importorskip("opentelemetry.sdk")
    from tests.integration.stacks import ROOT

    names = sorted(path.name for path in (ROOT / "examples" / "images").glob("*.*"))[:3]
    (tmp_path / "pictures").mkdir()
    for name in names:
        (tmp_path / "pictures" / name).write_bytes((ROOT / "examples" / "images" / name).read_bytes())
    # Not a broker of its own, which takes longer to start and to stop than all the rest.
    variables = {"MUNIFLOW_TRACES": f"file:{tmp_path / 'traces'}", "MUNIFLOW_AMQP_URL": broker.amqp_url}
    line = CommandLine(tmp_path, variables)
    up = line("up", "--detach", "--no-gateway", timeout_s=180)
    assert up.returncode == 0, up.stderr
    try:
        batch = line.write_batch("traced", source="pictures/")
        assert line("submit", batch, "--wait").returncode == 0
    finally:
        assert line("down", timeout_s=120).returncode == 0
    spans = spans_of(tmp_path / "traces")
    by_id = {span["context"]["span_id"]: span for span in spans}
    traces = {span["context"]["trace_id"] for span in spans}
    assert len(traces) == len(names), "one trace for each image"
    for trace in traces:
        mine = [span for span in spans if span["context"]["trace_id"] == trace]
        assert Counter(span["name"] for span in mine) == {"image": 1, "resize": 1, "split": 1, "blur": 1}
        parents = {
            span["name"]: by_id[span["parent_id"]]["name"] if span["parent_id"] else None
            for span in mine
        }  # fmt: skip
        assert parents == {"image": None, "resize": "image", "split": "resize", "blur": "split"}
        (tiles,) = (span["attributes"]["muniflow.lineages"] for span in mine if span["name"] == "blur")
        assert len(set(tiles)) == TILES, "small tiles of one image travel together"
        assert {span["attributes"]["muniflow.batch"] for span in mine} == {"traced"}
        assert len({span["attributes"]["muniflow.image"] for span in mine}) == 1
        (root,) = (span for span in mine if span["name"] == "image")
        assert root["attributes"]["muniflow.state"] == "done"
        assert all(root["start_time"] <= span["start_time"] for span in mine), "nothing begins before its image"
    services = {span["resource"]["attributes"]["service.name"] for span in spans}
    assert services == {"muniflow-coordinator", "muniflow-resize", "muniflow-split", "muniflow-blur"}
