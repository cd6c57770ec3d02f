"""`muniflow verify` and `muniflow export bagit`: whatever is changed anywhere is found."""

import json
import random
import shutil
from pathlib import Path

import bagit  # type: ignore[import-untyped]
import jsonschema
import pytest

from muniflow.model.report_schema import report_schema
from muniflow_cli.commands import exits
from muniflow_cli.main import run

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.usefixtures("folder")
IMAGES = ["coffee.png", "rocket.jpg", "retina.jpg"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    (folder / "source").mkdir()
    for name in IMAGES:
        shutil.copy(ROOT / "examples/images" / name, folder / "source")
    write_batch(folder)
    code = run(
        [
            "run",
            str(folder / "batch.json"),
            "--source",
            str(folder / "source"),
            "--out",
            str(folder / "out"),
            "--jobs",
            "1",
        ]
    )
    assert code == exits.FAILED  # one image is not there
    return folder


def write_batch(folder, **fields):
    document = {
        "batch_id": "b", "images": [*IMAGES, "nowhere.jpg"], "operations": [["resize", "10%"], ["split", "2x1"]],
        "checksums": True, **fields,
    }  # fmt: skip
    (folder / "batch.json").write_text(json.dumps(document))


@pytest.fixture
def folder(made, tmp_path, monkeypatch):
    """A copy that a test may spoil."""
    shutil.copytree(made, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def verify(capsys, *options, report="out/b"):
    capsys.readouterr()
    code = run(["verify", report, "--source", "source", "--json", *options])
    document = json.loads(capsys.readouterr().out)
    assert (code == exits.OK) == (document["faults"] == 0)
    return [(each["kind"], each["key"]) for each in document["findings"]]


def flip(path, bit):
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def test_what_is_whole_has_no_fault(capsys):
    assert verify(capsys) == []
    assert verify(capsys, report="out/b/report.json") == []
    jsonschema.validate(json.loads(Path("out/b/report.json").read_text()), report_schema())
    assert run(["verify", "out/b", "--source", "source"]) == exits.OK
    assert "4 images, 9 files read, 0 images made again, 0 faults" in capsys.readouterr().out


@pytest.mark.parametrize("seed", range(4))
def test_one_bit_flipped_anywhere_is_found(capsys, seed):
    dice = random.Random(seed)  # noqa: S311 - chooses bits, no secret
    for path in sorted(Path("out/b").iterdir()) + sorted(Path("source").iterdir()):
        whole = path.read_bytes()
        flip(path, dice.randrange(len(whole) * 8))
        capsys.readouterr()
        assert run(["verify", "out/b", "--source", "source", "--json"]) != exits.OK
        if path.name != "report.json":
            assert path.name in capsys.readouterr().out
        path.write_bytes(whole)


def test_every_bit_of_a_report_counts():
    path = Path("out/b/report.json")
    whole = path.read_bytes()
    for bit in range(0, len(whole) * 8, 101):
        flip(path, bit)
        assert run(["verify", "out/b", "--no-sources", "--json"]) in {exits.FAILED, exits.USAGE}, bit
        path.write_bytes(whole)


def test_swapped_missing_and_changed_files_are_named(capsys):
    one, other = Path("out/b/coffee-0.jpg"), Path("out/b/rocket-1.jpg")
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)
    Path("out/b/retina-0.jpg").unlink()
    with Path("source/retina.jpg").open("ab") as file:
        file.write(b"more")
    assert sorted(verify(capsys)) == [
        ("changed", "retina.jpg"), ("missing", "b/retina-0.jpg"), ("swapped", "b/coffee-0.jpg"),
        ("swapped", "b/rocket-1.jpg"),
    ]  # fmt: skip
    assert run(["verify", "out/b", "--source", "source"]) == exits.FAILED
    assert "it has the bytes of b/rocket-1.jpg" in capsys.readouterr().out
    assert ("changed", "retina.jpg") not in verify(capsys, "--no-sources")


def test_a_report_that_is_cut_off_is_found(capsys):
    path = Path("out/b/report.json")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-2]))
    assert ("report", "report.json") in verify(capsys)
    path.write_bytes(b"".join([lines[0], *lines[2:]]))
    assert ("report", "report.json") in verify(capsys)


def test_a_share_is_made_again_and_compared(capsys):
    run(["verify", "out/b", "--source", "source", "--recompute", "100%", "--json"])
    assert json.loads(capsys.readouterr().out)["recomputed"] == 3
    run(["verify", "out/b", "--source", "source", "--recompute", "1%", "--json"])
    assert json.loads(capsys.readouterr().out)["recomputed"] == 1  # never none


def test_outputs_of_another_route_are_found_although_their_digests_are_right(folder, capsys):
    write_batch(folder, operations=[["resize", "11%"], ["split", "2x1"]])
    run(["run", "batch.json", "--source", "source", "--out", "other", "--jobs", "1"])
    header, entries = Path("other/b/report.json").read_bytes().split(b"\n", 1)
    claimed = Path("out/b/report.json").read_bytes().partition(b"\n")[0]
    Path("other/b/report.json").write_bytes(claimed + b"\n" + entries.rpartition(b"\n], ")[0] + b"\n]}\n")
    assert header != claimed
    assert verify(capsys, report="other/b") == []
    found = verify(capsys, "--recompute", "100%", report="other/b")
    assert {kind for kind, _ in found} == {"recomputed"}
    assert len(found) == 6


def test_a_report_without_checksums_says_so(folder, capsys):
    write_batch(folder, checksums=False)
    run(["run", "batch.json", "--source", "source", "--out", "plain", "--jobs", "1"])
    report = json.loads(Path("plain/b/report.json").read_text())
    assert "checksums" not in report
    assert "outputs_sha256" not in report["images"][0]
    assert run(["verify", "plain/b", "--source", "source"]) == exits.USAGE
    assert "has no checksums" in capsys.readouterr().err
    assert verify(capsys, "--recompute", "100%", report="plain/b") == []


@pytest.mark.parametrize("share", ["2", "-1%", "some", "nan"])
def test_a_share_that_is_none_is_refused(share):
    assert run(["verify", "out/b", "--recompute", share]) == exits.USAGE


def test_a_bag_is_valid_and_a_flipped_bit_in_it_is_found(capsys):
    assert run(["export", "bagit", "out/b", "--out", "bag", "--sources", "--source", "source"]) == exits.OK
    bag = bagit.Bag("bag")
    bag.validate()
    assert bag.info["External-Identifier"] == "b"
    report = json.loads(Path("out/b/report.json").read_text())
    entry = report["images"][0]
    sums = {path: values["sha256"] for path, values in bag.entries.items()}
    assert sums["data/outputs/coffee-0.jpg"] == entry["outputs_sha256"][0]
    assert sums["data/sources/coffee.png"] == entry["source_sha256"]
    assert len([path for path in sums if path.startswith("data/")]) == 10
    capsys.readouterr()
    assert run(["verify", "bag/data/outputs", "--source", "bag/data/sources"]) == exits.OK
    flip(Path("bag/data/outputs/coffee-0.jpg"), 99)
    with pytest.raises(bagit.BagValidationError):
        bag.validate()


def test_nothing_damaged_gets_into_a_bag(capsys):
    flip(Path("out/b/coffee-0.jpg"), 99)
    assert run(["export", "bagit", "out/b", "--out", "bag"]) == exits.USAGE
    assert "coffee-0.jpg" in capsys.readouterr().err
    assert not Path("bag").exists()
    assert sorted(path.name for path in Path().iterdir()) == ["batch.json", "out", "source"]
    Path("bag").mkdir()
    assert run(["export", "bagit", "out/b", "--out", "bag"]) == exits.USAGE
