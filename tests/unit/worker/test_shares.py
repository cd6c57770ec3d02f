"""Shares of a batch on the local engine: together they are the whole batch, and none touches another one."""

import json

import pytest
from tests.support.compute_help import SUPPORT, files, picture, route, spec, write_source

from muniflow.model.batch import Batch
from muniflow.model.lineage import WHOLE
from muniflow.model.messages import Encoding, Settled
from muniflow.model.share import Share
from muniflow.store.local import LocalStore
from muniflow_cli.engine.account import open_account
from muniflow_cli.engine.local import run_batch

IMAGES = 7


def batch(**fields):
    values = {
        "batch_id": "b", "municipality": "", "source": "", "images": None, "manifest": None,
        "route": route("half", "quarter"), "encoding": Encoding(format="jpg"), "destination": "out", "decode": "exact",
        "weight": 1, "fingerprint": "f",
    }  # fmt: skip
    return Batch(**{**values, **fields})


@pytest.fixture
def sources(tmp_path):
    for number in range(IMAGES - 1):
        write_source(tmp_path, f"{number}.jpg", picture(40 + number, 30, number))
    (tmp_path / "source/broken.jpg").write_bytes(b"no image")
    return tmp_path


def run_share(root, into, share, jobs=1, **fields):
    run_spec = spec(root, output_url=str(root / into), work_url=str(root / "work"))
    return run_batch(batch(**fields), run_spec, jobs=jobs, share=share, python_path=(str(SUPPORT),))


def pictures_in(folder):
    return {key: data for key, data in files(folder).items() if key.endswith(".jpg")}


@pytest.mark.parametrize(("of", "jobs"), [(1, 1), (3, 1), (3, 2), (IMAGES + 2, 1)])
def test_all_shares_write_what_the_whole_batch_writes(sources, of, jobs):
    run_share(sources, "whole", None)
    results = [run_share(sources, "shares", Share(number, of), jobs) for number in range(1, of + 1)]

    expected = pictures_in(sources / "whole")
    assert len(expected) == 4 * (IMAGES - 1)
    assert pictures_in(sources / "shares") == expected
    assert sum(result.done for result in results) == IMAGES - 1
    assert sum(result.failed for result in results) == 1
    assert [result.shard for result in results] == [f"{number}/{of}" for number in range(1, of + 1)]
    assert files(sources / "work") == {}


def test_the_report_of_a_share_says_which_it_is(sources):
    result = run_share(sources, "shares", Share(2, 3))
    report = json.loads((sources / "shares" / result.report).read_text())

    assert result.report == "out/report-2-of-3.json"
    digest = report["shard"].pop("images_sha256")
    assert (report["shard"], len(digest)) == ({"number": 2, "of": 3, "images": IMAGES}, 64)
    assert [entry["image"] for entry in report["images"]] == [1, 4]
    assert [entry["source"] for entry in report["images"]] == ["1.jpg", "4.jpg"]
    assert report["totals"] == {"images": 2, "done": 2, "failed": 0, "cancelled": 0, "outputs": 8, "skipped": 0}


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_share_without_images_is_done(sources, jobs):
    result = run_share(sources, "shares", Share(9, 9), jobs)
    assert (result.state, result.done, result.report) == ("done", 0, "out/report-9-of-9.json")


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_share_removes_nothing_of_another_one(sources, jobs):
    run_share(sources, "shares", Share(1, 3), jobs)
    before = files(sources / "shares")
    LocalStore(sources / "work").write("b/0/2/0-0-all.raw", b"an intermediate of share 3, which still runs")

    run_share(sources, "shares", Share(2, 3), jobs)

    after = files(sources / "shares")
    assert before.items() <= after.items()
    assert len(after) > len(before)
    assert list(files(sources / "work")) == ["b/0/2/0-0-all.raw"]


def test_intermediates_of_its_own_images_are_removed(sources):
    work = LocalStore(sources / "work")
    account = open_account(
        batch(), LocalStore(sources / "source"), LocalStore(sources / "shares"), Share(2, 3), lambda _: None
    )
    for ref in account.refs:
        task = account.begin(ref)
        # As they are settled when an image went through more than one process.
        account.add([Settled(batch="b", image=ref.n, run=task.run, lineage=WHOLE, direct=False)])
    for n in range(IMAGES):
        work.write(f"b/0/{n}/0-0-all.raw", b"pixels")

    account.remove_intermediates(work)

    assert list(files(sources / "work")) == [f"b/0/{n}/0-0-all.raw" for n in (0, 2, 3, 5, 6)]


def test_a_lost_share_is_run_again_alone_with_the_same_result(sources):
    for number in (1, 2, 3):
        run_share(sources, "shares", Share(number, 3))
    before = pictures_in(sources / "shares")
    for key in ("out/1-0.jpg", "out/4-3.jpg", "out/report-2-of-3.json"):
        (sources / "shares" / key).unlink()

    run_share(sources, "shares", Share(2, 3))

    assert pictures_in(sources / "shares") == before
    assert (sources / "shares/out/report-2-of-3.json").is_file()
