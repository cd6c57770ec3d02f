"""`muniflow run --shard` and `muniflow report merge`, on the examples."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from muniflow_cli.commands import exits
from muniflow_cli.main import run

ROOT = Path(__file__).parents[3]
IMAGES = ["coffee.png", "rocket.jpg", "nowhere.jpg", "brick-wall.png", "retina.jpg"]
OF = 3


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MUNIFLOW_SOURCE_URL", str(ROOT / "examples/images"))
    for name in ("JOB_COMPLETION_INDEX", "AWS_BATCH_JOB_ARRAY_INDEX", "CLOUD_RUN_TASK_INDEX"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def write_batch(folder, **fields):
    document = {"batch_id": "b", "images": IMAGES, "operations": [["resize", "10%"], ["split", "2x1"]], **fields}
    path = folder / "batch.json"
    path.write_text(json.dumps(document))
    return str(path)


def run_shares(folder, out, *, of=OF, numbers=None, **fields):
    batch = write_batch(folder, **fields)
    for number in numbers or range(1, of + 1):
        assert run(["run", batch, "--out", out, "--jobs", "1", "--shard", f"{number}/{of}"]) in {exits.OK, exits.FAILED}


def read(path):
    return json.loads(Path(path).read_text())


def without_times(report):
    for name in ("times", "forecast", "sha256"):
        del report[name]
    return report


def test_the_merged_report_is_that_of_one_run_except_for_the_times(folder, capsys):
    run_shares(folder, "shares")
    assert run(["run", write_batch(folder), "--out", "whole", "--jobs", "1"]) == exits.FAILED
    capsys.readouterr()

    assert run(["report", "merge", "shares/b", "--out", "shares/b/report.json"]) == exits.FAILED

    assert "missing" not in capsys.readouterr().out
    merged, whole = (read(f"{out}/b/report.json") for out in ("shares", "whole"))
    assert list(merged) == list(whole)
    assert merged["forecast"]["reason"] == whole["forecast"]["reason"]
    shares = [read(path) for path in Path("shares/b").glob("report-*.json")]
    assert merged["times"]["submitted_at"] == min(share["times"]["submitted_at"] for share in shares)
    assert merged["times"]["finished_at"] == max(share["times"]["finished_at"] for share in shares)
    assert without_times(merged) == without_times(whole)
    texts = [
        Path(out, "b/report.json").read_bytes().partition(b'"images": [\n')[2].rpartition(b"\n]")[0]
        for out in ("shares", "whole")
    ]
    assert texts[0] == texts[1] != b""
    pictures = [{path.name: path.read_bytes() for path in Path(out, "b").glob("*.jpg")} for out in ("shares", "whole")]
    assert pictures[0] == pictures[1]


def test_a_missing_share_has_its_exit_code_and_is_run_again_alone(folder, capsys):
    run_shares(folder, "out", numbers=(1, 3))
    capsys.readouterr()

    assert run(["report", "merge", "out/b", "--out", "report.json"]) == exits.INCOMPLETE

    text = capsys.readouterr().out
    assert "missing: 1 of 3 shares (2), with 2 of 5 images" in text
    assert "--shard 2/3" in text
    report = read("report.json")
    assert report["missing"] == {"shards": [2], "of": 3, "images": 2}
    assert report["state"] == "cancelled"
    assert report["totals"] == {"images": 5, "done": 2, "failed": 1, "cancelled": 2, "outputs": 4, "skipped": 0}
    assert [entry["image"] for entry in report["images"]] == [0, 2, 3]
    assert run(["report", "merge", "out/b", "--out", "report.json", "--json"]) == exits.INCOMPLETE
    assert json.loads(capsys.readouterr().out)["missing"] == [2]

    run_shares(folder, "out", numbers=(2,))

    assert run(["report", "merge", "out/b", "--out", "report.json"]) == exits.FAILED
    assert "missing" not in read("report.json")


def test_more_shares_than_images_miss_none(folder):
    run_shares(folder, "out", of=4, numbers=(1, 2), images=IMAGES[:2])

    assert run(["report", "merge", "out/b", "--out", "report.json", "--json"]) == exits.OK
    assert read("report.json")["state"] == "done"


def test_files_can_be_named_one_by_one_in_any_order(folder):
    run_shares(folder, "out", images=IMAGES[:2])
    names = [f"out/b/report-{number}-of-3.json" for number in (2, 1)]

    assert run(["report", "merge", *names, "--out", "new/folder/report.json"]) == exits.OK

    assert [entry["image"] for entry in read("new/folder/report.json")["images"]] == [0, 1]


@pytest.mark.parametrize(
    ("index", "count"),
    [
        ("JOB_COMPLETION_INDEX", "MUNIFLOW_SHARDS"),
        ("AWS_BATCH_JOB_ARRAY_INDEX", "AWS_BATCH_JOB_ARRAY_SIZE"),
        ("CLOUD_RUN_TASK_INDEX", "CLOUD_RUN_TASK_COUNT"),
    ],
)
def test_auto_runs_the_share_of_an_indexed_job(index, count, folder, monkeypatch, capsys):
    monkeypatch.setenv(index, "1")
    monkeypatch.setenv(count, "3")
    batch = write_batch(folder)

    assert run(["run", batch, "--out", "out", "--jobs", "1", "--shard", "auto", "--json"]) == exits.OK

    result = json.loads(capsys.readouterr().out)
    assert (result["shard"], result["report"]) == ("2/3", "b/report-2-of-3.json")
    assert [entry["image"] for entry in read("out/b/report-2-of-3.json")["images"]] == [1, 4]


@pytest.mark.parametrize("shard", ["0/4", "5/4", "x", "auto"])
def test_a_wrong_share_runs_nothing(shard, folder, capsys):
    assert run(["run", write_batch(folder), "--out", "out", "--shard", shard]) == exits.USAGE

    text = capsys.readouterr().err
    assert text.startswith("error: --shard: ")
    assert "Traceback" not in text
    assert not (folder / "out").exists()


def test_steps_as_processes_run_a_share_too(folder, capsys):
    batch = write_batch(folder)
    options = ["--serial-containers", "--image", "none-{op}"]

    assert run(["run", batch, "--out", "out", "--shard", "2/3", *options]) == exits.OK

    assert [entry["image"] for entry in read("out/b/report-2-of-3.json")["images"]] == [1, 4]
    assert "shard: 2/3; its report: b/report-2-of-3.json" in capsys.readouterr().out


@pytest.fixture(scope="module")
def share_reports(tmp_path_factory):
    """The reports of two shares, of a share of three, of other batches and of a whole batch."""
    root = tmp_path_factory.mktemp("reports")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("MUNIFLOW_SOURCE_URL", str(ROOT / "examples/images"))
        ways: dict[str, tuple[dict[str, Any], list[str]]] = {
            "both": ({}, ["1/2", "2/2"]),
            "thirds": ({}, ["3/3"]),
            "named": ({"batch_id": "other", "destination": "b"}, ["2/2"]),
            "route": ({"operations": [["resize", "20%"]]}, ["2/2"]),
            "list": ({"images": IMAGES[:3]}, ["2/2"]),
            "renamed": ({"images": ["astronaut.png", *IMAGES[1:]]}, ["2/2"]),
        }
        for out, (fields, shares) in ways.items():
            for share in shares:
                run(["run", write_batch(root, **fields), "--out", out, "--jobs", "1", "--shard", share])
        run(["run", write_batch(root), "--out", "whole", "--jobs", "1"])
        shutil.copyfile("both/b/report-1-of-2.json", "copy.json")
    return root


FIRST, SECOND = "both/b/report-1-of-2.json", "both/b/report-2-of-2.json"
WRONG = [
    ([FIRST, "copy.json"], "copy.json: share 1/2 is also both/b/report-1-of-2.json"),
    ([FIRST, SECOND, SECOND], "report-2-of-2.json: share 2/2 is also"),
    ([FIRST, "thirds/b/report-3-of-3.json"], "report-3-of-3.json: a share of 3; both/b/report-1-of-2.json is one of 2"),
    ([FIRST, "named/b/report-2-of-2.json"], 'of another batch: its batch_id is "other"'),
    ([FIRST, "route/b/report-2-of-2.json"], "of another batch: its operations is"),
    ([FIRST, "list/b/report-2-of-2.json"], "another list of images (3) than that of both/b/report-1-of-2.json (5)"),
    ([FIRST, "renamed/b/report-2-of-2.json"], "the source changed between the shares"),
    (["whole/b/report.json"], "whole/b/report.json: the report of a whole batch, not of a share"),
    (["batch.json"], "batch.json: not a report as `muniflow run` writes it"),
    (["nowhere.json"], "nowhere.json: there is no such file"),
    (["whole/b"], "whole/b: no report of a share is here"),
    (["http://host/x.json"], "http://host: is not the address of a store"),
    (["s3://x.json"], "s3://x.json: not the name of a file"),
]


@pytest.mark.parametrize(("names", "said"), WRONG)
def test_reports_that_are_not_of_one_batch_are_refused(names, said, share_reports, monkeypatch, capsys):
    monkeypatch.chdir(share_reports)

    assert run(["report", "merge", *names, "--out", "merged.json"]) == exits.USAGE

    text = capsys.readouterr().err
    assert said in text
    assert "Traceback" not in text
    assert not Path("merged.json").exists()


CHANGES = [
    (lambda text: text[:-20], "cut off"),
    (lambda text: b"\xff" + text, "its first line is not JSON"),
    (lambda text: b"[" * 100_000 + text, "its first line is not JSON"),
    (lambda text: text.replace(b'"v": 1', b'"v": 2'), "not the report of a share: v: Input should be 1"),
    (lambda text: text.replace(b'"of": 2', b'"of": 0'), "shard.of: Input should be greater"),
    (lambda text: text.replace(b'"number": 1', b'"number": 3'), "shard 3/2: shares are numbered from 1 to 2"),
    (lambda text: text.replace(b'"number": 1, "of": 2, "images": 5', b'"number": 1, "of": 2, "images": 7'), "has 4"),
    (lambda text: text.replace(b'{"image": 2', b'{"image": 4'), "lists image 4 where share 1/2 has image 2"),
    (lambda text: text.replace(b'"state": "failed", "outputs', b'"state": "odd", "outputs'), "entry of image 2 cannot"),
    (lambda text: text.replace(b'"state": "failed", "outputs', b'"state": "done", "outputs'), "its totals are not"),
    (lambda text: text.replace(b'"finished_at": ', b'"finished_at": 1e999, "x": '), "times.finished_at"),
]


@pytest.mark.parametrize(("change", "said"), CHANGES)
def test_a_damaged_report_is_refused(change, said, share_reports, tmp_path, capsys):
    text = (share_reports / FIRST).read_bytes()
    assert change(text) != text
    damaged, merged = tmp_path / "damaged.json", tmp_path / "merged.json"
    damaged.write_bytes(change(text))

    assert run(["report", "merge", str(damaged), "--out", str(merged)]) == exits.USAGE

    assert said in capsys.readouterr().err
    assert not merged.exists()


def test_an_output_that_is_no_file_name_is_refused(share_reports, monkeypatch, capsys):
    monkeypatch.chdir(share_reports)

    assert run(["report", "merge", FIRST, SECOND, "--out", "folder/"]) == exits.USAGE

    assert "folder/: not the name of a file" in capsys.readouterr().err
