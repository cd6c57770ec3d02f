"""The same bytes and the same report wherever a batch runs.

200 mixed photographs, five steps, two splits: 3,200 outputs. And images that fail, whole and in tiles.
"""

import json
import shutil

import numpy as np
import pytest
from PIL import Image as Pillow
from tests.integration.stacks import ROOT
from tests.support.waiting import eventually

from muniflow.images.opencv import cv2
from muniflow_cli.commands import exits

pytestmark = pytest.mark.timeout(400)
IMAGES = 200
TILES = 16
ROUTE = [["resize", "50%"], ["split", True], ["blur", "median"], ["split", True], ["blur", "gaussian"]]
SIZES_PX = {"good.png": (120, 90), "odd.png": (12, 12), "small.png": (8, 8), "smallest.png": (1, 1)}
"""Pictures of the batch `faulty`. At half its size, `odd` is cut into tiles of 1 and 2 px a side, `small` into tiles of
1x1; a tile with a side of 1 px cannot be cut again."""
WHOLE = ["no_image.jpg", "empty.jpg", "cut_off.jpg", "missing.jpg"]
"""They fail whole."""
FAULTY = {
    "batch_id": "faulty",
    "source": "faulty/",
    "images": [*SIZES_PX, *WHOLE],
    "operations": [["resize", "50%"], ["split", "4x4"], ["blur", "gaussian"], ["split", True]],
    "output": "png",
    "municipality": "Ålesund",
}


@pytest.fixture(scope="module")
def folder(muniflow):
    """That of the stack, with two batches and what they read."""
    folder = muniflow.folder
    (folder / "photographs").mkdir()
    write_photographs(folder / "photographs")
    batch = {"batch_id": "mixed", "source": "photographs/", "operations": ROUTE, "output": "jpg"}
    (folder / "batch.json").write_text(json.dumps(batch))
    (folder / "faulty").mkdir()
    write_faulty(folder / "faulty")
    (folder / "faulty.json").write_text(json.dumps(FAULTY))
    return folder


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


def write_faulty(folder):
    random = np.random.default_rng(20261128)
    for name, (width_px, height_px) in SIZES_PX.items():
        assert cv2.imwrite(str(folder / name), random.integers(0, 256, (height_px, width_px, 3), np.uint8))
    (folder / "no_image.jpg").write_text("really not")
    (folder / "empty.jpg").touch()
    photograph = (ROOT / "examples/images/rocket.jpg").read_bytes()
    (folder / "cut_off.jpg").write_bytes(photograph[: len(photograph) // 2])


def outputs_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "report.json"}


def report_of(folder):
    """The whole report but what differs between any two runs: when they ran, what was forecast, the digest of all."""
    report = json.loads((folder / "report.json").read_text())
    assert report.pop("sha256")
    assert report.pop("times").keys() == {"submitted_at", "finished_at", "seconds"}
    assert {"p50_s", "p90_s", "actual_s"} <= report.pop("forecast").keys()
    return report


def submit(muniflow, folder, batch, code):
    """Run a batch over the broker; returns the folder of its outputs."""
    submitted = muniflow("submit", f"{batch}.json", "--wait", timeout_s=300)
    assert submitted.returncode == code, submitted.stderr
    work = folder / ".muniflow/work"
    eventually(lambda: not any(work.rglob("*.raw")), what="intermediates are removed")
    return folder / ".muniflow/output"


@pytest.fixture(scope="module")
def over_the_broker(muniflow, folder):
    made = submit(muniflow, folder, "batch", exits.OK) / "mixed"
    return outputs_of(made), report_of(made)


@pytest.fixture(scope="module")
def faulty_over_the_broker(muniflow, folder):
    made = submit(muniflow, folder, "faulty", exits.FAILED) / "faulty"
    return outputs_of(made), report_of(made)


def test_every_image_has_its_tiles(over_the_broker):
    names = {f"{number:03}-{tile}.jpg" for number in range(IMAGES) for tile in range(TILES)}
    assert set(over_the_broker[0]) == names
    assert len(names) == 3200


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_the_local_engine_makes_the_same_bytes_and_report(muniflow, over_the_broker, jobs):
    out = muniflow.folder / f"jobs-{jobs}"
    done = muniflow("run", "batch.json", "--jobs", jobs, "--out", str(out), timeout_s=300)
    assert done.returncode == 0, done.stderr

    outputs, report = outputs_of(out / "mixed"), report_of(out / "mixed")
    shutil.rmtree(out)
    expected, expected_report = over_the_broker

    assert outputs.keys() == expected.keys()
    assert [name for name in outputs if outputs[name] != expected[name]] == []
    assert report == expected_report


def test_the_report_over_the_broker_says_what_failed_where(faulty_over_the_broker):
    _, report = faulty_over_the_broker
    too_small = "an image of 1x1 cannot be split into 2x2 tiles: every tile needs at least one pixel"
    found = {image["source"].removeprefix("faulty/"): image for image in report["images"]}

    assert [name for name, image in found.items() if image["state"] == "done"] == ["good.png"]
    assert found["small.png"]["reasons"] == [
        *(f"operations[3] (split), tile {tile}of16: {too_small}" for tile in range(10)),
        "and 6 more",
    ]
    places = {name: [reason.partition(": ")[0] for reason in found[name]["reasons"]] for name in WHOLE}
    assert places == {name: ["operations[0] (resize)"] for name in WHOLE}


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_the_local_engine_says_the_same_of_images_that_fail(muniflow, faulty_over_the_broker, jobs):
    out = muniflow.folder / f"faulty-{jobs}"
    done = muniflow("run", "faulty.json", "--jobs", jobs, "--out", str(out))
    assert done.returncode == exits.FAILED, done.stderr

    expected, expected_report = faulty_over_the_broker
    assert report_of(out / "faulty") == expected_report
    assert outputs_of(out / "faulty") == expected


def test_both_engines_keep_the_same_of_yesterday(muniflow, folder):
    """`again: changed`, with metadata and digests in the report; some of it is new, changed, gone or cannot be read."""
    source = folder / "nightly"
    source.mkdir()
    exif = Pillow.Exif()
    exif[0x0132], exif[0x8825] = "2026:11:29 07:00:00", {2: (52.0, 5.0, 0.0), 4: (5.0, 7.0, 0.0)}
    for number in range(8):
        picture = Pillow.new("RGB", (64, 48), (number * 30, 0, 0))
        picture.save(source / f"{number}.jpg", exif=exif if number % 2 else Pillow.Exif())
    (source / "broken.jpg").write_text("really not")
    nightly = {"batch_id": "nightly", "source": "nightly/", "operations": ROUTE[:3], "output": "jpg"}
    chosen = {"again": "changed", "checksums": True, "metadata": "keep"}
    (folder / "nightly.json").write_text(json.dumps({**nightly, **chosen}))

    def both():
        made = submit(muniflow, folder, "nightly", exits.FAILED) / "nightly"
        done = muniflow("run", "nightly.json", "--jobs", "2", "--out", "here", timeout_s=300)
        assert done.returncode == exits.FAILED, done.stderr
        return (outputs_of(made), report_of(made)), (
            outputs_of(folder / "here/nightly"),
            report_of(folder / "here/nightly"),
        )

    first, here = both()
    assert first == here
    Pillow.new("RGB", (64, 48)).save(source / "3.jpg")
    Pillow.new("RGB", (64, 48)).save(source / "new.jpg")
    (source / "0.jpg").unlink()
    (outputs, report), (outputs_here, report_here) = both()
    assert report == report_here
    assert (report["kept"], report["gone"]) == (6, {"count": 1, "sources": ["nightly/0.jpg"]})
    reports = {"report-r1.json"}
    assert {name: outputs[name] for name in outputs.keys() - reports} == {
        name: outputs_here[name] for name in outputs_here.keys() - reports
    }
    said = {entry["source"]: (entry.get("revision"), entry.get("metadata")) for entry in report["images"]}
    assert said["nightly/1.jpg"] == (1, ["place", "time"])
    assert said["nightly/2.jpg"] == (1, [])
    assert said["nightly/new.jpg"] == (None, [])
    assert said["nightly/broken.jpg"] == (None, None)
