"""200 mixed photographs, five steps, two splits: 3,200 outputs, the same bytes wherever they are made."""

import json
import os
import shutil

import numpy as np
import pytest
from tests.integration.stacks import ROOT, CommandLine, kill_stack
from tests.support.waiting import eventually

from muniflow.images.opencv import cv2
from muniflow_cli.stack.broker import find_server

pytestmark = [
    pytest.mark.skipif(find_server() is None and os.environ.get("CI") != "true", reason="needs rabbitmq-server"),
    pytest.mark.timeout(400),
]
IMAGES = 200
TILES = 16
ROUTE = [["resize", "50%"], ["split", True], ["blur", "median"], ["split", True], ["blur", "gaussian"]]


@pytest.fixture(scope="module")
def muniflow(tmp_path_factory):
    folder = tmp_path_factory.mktemp("engines")
    (folder / "photographs").mkdir()
    write_photographs(folder / "photographs")
    batch = {"batch_id": "mixed", "source": "photographs/", "operations": ROUTE, "output": "jpg"}
    (folder / "batch.json").write_text(json.dumps(batch))
    return CommandLine(folder)


def read(path):
    image = cv2.imread(str(path))
    assert image is not None, path
    return image


def write_photographs(folder):
    """Windows of the example photographs, in many sizes, odd ones too, as JPEG and PNG."""
    sources = [read(path) for path in sorted((ROOT / "examples/images").iterdir())]
    random = np.random.default_rng(20261122)
    for number in range(IMAGES):
        source = sources[number % len(sources)]
        height_px, width_px = (int(random.integers(65, limit)) for limit in source.shape[:2])
        top = int(random.integers(0, source.shape[0] - height_px + 1))
        left = int(random.integers(0, source.shape[1] - width_px + 1))
        window = source[top : top + height_px, left : left + width_px]
        assert cv2.imwrite(str(folder / f"{number:03}.{'jpg' if number % 3 else 'png'}"), window)


def outputs_of(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.jpg")}


@pytest.fixture(scope="module")
def over_the_broker(muniflow):
    up = muniflow("up", "--detach", timeout_s=200)
    assert up.returncode == 0, up.stderr
    try:
        submitted = muniflow("submit", "batch.json", "--wait", timeout_s=300)
        assert submitted.returncode == 0, submitted.stderr
        work = muniflow.folder / ".muniflow/work"
        eventually(lambda: not any(work.rglob("*.raw")), what="intermediates are removed")
    finally:
        kill_stack(muniflow.state_dir)
    return outputs_of(muniflow.folder / ".muniflow/output/mixed")


def test_every_image_has_its_tiles(over_the_broker):
    names = {f"{number:03}-{tile}.jpg" for number in range(IMAGES) for tile in range(TILES)}
    assert set(over_the_broker) == names
    assert len(names) == 3200


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_the_local_engine_makes_the_same_bytes(muniflow, over_the_broker, jobs):
    out = muniflow.folder / f"jobs-{jobs}"
    done = muniflow("run", "batch.json", "--jobs", jobs, "--out", str(out), timeout_s=300)
    assert done.returncode == 0, done.stderr

    outputs = outputs_of(out / "mixed")
    shutil.rmtree(out)

    assert outputs.keys() == over_the_broker.keys()
    assert [name for name in outputs if outputs[name] != over_the_broker[name]] == []
