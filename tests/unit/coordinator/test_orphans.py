"""What killed processes left among the outputs goes a while after the end of its batch, and nothing else does."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from muniflow.errors import Unavailable
from muniflow.model.keys import work_prefix
from muniflow.store.folders import TEMPORARY

if TYPE_CHECKING:
    from tests.unit.coordinator.conftest import CoordinatorHarness

SOON_S = 0.2


@pytest.fixture(autouse=True)
def no_slack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("muniflow_coordinator.cleanup.orphans.SLACK_S", 0.05)


def left_behind(harness: "CoordinatorHarness", folder: str = "b/below") -> Path:
    path = harness.root / "output" / folder / f"{TEMPORARY}{len(list(harness.root.rglob('*')))}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half of it")
    return path


def later(harness: "CoordinatorHarness", delay_s: float) -> None:
    passed: list[bool] = []
    harness.loop.call_later(delay_s, lambda: passed.append(True))
    harness.until(lambda: passed)


def test_after_the_end_of_its_batch(harness: "CoordinatorHarness") -> None:
    harness.pictures(2)
    left, elsewhere = left_behind(harness), left_behind(harness, "of-nobody")
    harness.start(unfinished_after_s=SOON_S)
    harness.submit()
    assert harness.finish().state == "done"
    harness.until(lambda: not left.exists())
    assert elsewhere.exists()
    assert (harness.root / "output" / "b" / "report.json").exists()


def test_what_is_young_may_be_at_work(harness: "CoordinatorHarness") -> None:
    harness.pictures(1)
    old, young = left_behind(harness), left_behind(harness)
    ahead_s = time.time() + 60
    os.utime(young, (ahead_s, ahead_s))
    harness.start(unfinished_after_s=SOON_S)
    harness.submit()
    harness.finish()
    harness.until(lambda: not old.exists())
    assert young.exists()


def test_a_start_looks_after_batches_that_ended_before_it(harness: "CoordinatorHarness") -> None:
    harness.pictures(1)
    left = left_behind(harness)
    harness.start(unfinished_after_s=30)
    harness.submit()
    harness.finish()
    harness.crash()
    harness.start(unfinished_after_s=SOON_S + 1)
    harness.until(lambda: not left.exists())


@pytest.mark.parametrize("after_s", [0, 30])
def test_never_or_not_yet(harness: "CoordinatorHarness", after_s: float) -> None:
    harness.pictures(1)
    left = left_behind(harness)
    harness.start(unfinished_after_s=after_s)
    harness.submit()
    harness.finish()
    later(harness, 3 * SOON_S)
    assert left.exists()


def test_intermediates_that_came_after_the_end_of_their_batch_go_unless_it_runs_again(
    harness: "CoordinatorHarness",
) -> None:
    """A worker that lost its connection computes on, and nobody learns of what it writes then."""
    harness.pictures(1)
    harness.start(unfinished_after_s=SOON_S)
    harness.submit(operations=[["copy", 2], ["paste", 1]])
    harness.finish()
    harness.stores.work.write(work_prefix("b", 0) + "late.raw", b"x")
    harness.until(lambda: not list(harness.stores.work.list()))


def test_intermediates_of_a_batch_that_runs_again_stay(harness: "CoordinatorHarness", answers: dict[str, Any]) -> None:
    harness.pictures(1)
    harness.answer = answers["failed"]
    coordinator = harness.start(unfinished_after_s=SOON_S)
    harness.submit(operations=[["copy", 2], ["paste", 1]])
    harness.finish()
    harness.hold = True
    harness.command("reopen")
    harness.until(lambda: len(coordinator.view.runs) == 1 and harness.held)
    harness.stores.work.write(work_prefix("b", 0) + "1-0-whole.raw", b"x")
    later(harness, 2 * SOON_S)
    assert [blob.size_bytes for blob in harness.stores.work.list()] == [1]


def test_late_intermediates_go_also_where_the_store_is_away_at_that_moment(
    harness: "CoordinatorHarness", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("muniflow_coordinator.cleanup.orphans.RETRY_DELAY_S", SOON_S, raising=False)
    harness.pictures(1)
    harness.start(unfinished_after_s=SOON_S)
    harness.submit(operations=[["copy", 2], ["paste", 1]])
    harness.finish()
    work = harness.stores.work
    failed: list[str] = []
    work.write(work_prefix("b", 0) + "late.raw", b"x")
    delete = work.delete_prefix

    def away_once(prefix: str) -> None:
        if not failed:
            failed.append(prefix)
            raise Unavailable("blob store", "503 Slow Down")
        delete(prefix)

    monkeypatch.setattr(work, "delete_prefix", away_once)
    harness.until(lambda: failed)
    harness.until(lambda: not list(work.list()))
