"""What killed processes left among the outputs goes a while after the end of its batch, and nothing else does."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from muniflow.store.folders import TEMPORARY

if TYPE_CHECKING:
    from tests.unit.coordinator.conftest import World

SOON_S = 0.2


@pytest.fixture(autouse=True)
def no_slack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("muniflow_coordinator.sweeper.SLACK_S", 0.05)


def left_behind(world: "World", folder: str = "b/below") -> Path:
    path = world.root / "output" / folder / f"{TEMPORARY}{len(list(world.root.rglob('*')))}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half of it")
    return path


def later(world: "World", delay_s: float) -> None:
    passed: list[bool] = []
    world.loop.call_later(delay_s, lambda: passed.append(True))
    world.until(lambda: passed)


def test_after_the_end_of_its_batch(world: "World") -> None:
    world.pictures(2)
    left, elsewhere = left_behind(world), left_behind(world, "of-nobody")
    world.start(unfinished_after_s=SOON_S)
    world.submit()
    assert world.finish().state == "done"
    world.until(lambda: not left.exists())
    assert elsewhere.exists()
    assert (world.root / "output" / "b" / "report.json").exists()


def test_what_is_young_may_be_at_work(world: "World") -> None:
    world.pictures(1)
    old, young = left_behind(world), left_behind(world)
    ahead_s = time.time() + 60
    os.utime(young, (ahead_s, ahead_s))
    world.start(unfinished_after_s=SOON_S)
    world.submit()
    world.finish()
    world.until(lambda: not old.exists())
    assert young.exists()


def test_a_start_looks_after_batches_that_ended_before_it(world: "World") -> None:
    world.pictures(1)
    left = left_behind(world)
    world.start(unfinished_after_s=30)
    world.submit()
    world.finish()
    world.crash()
    world.start(unfinished_after_s=SOON_S + 1)
    world.until(lambda: not left.exists())


@pytest.mark.parametrize("after_s", [0, 30])
def test_never_or_not_yet(world: "World", after_s: float) -> None:
    world.pictures(1)
    left = left_behind(world)
    world.start(unfinished_after_s=after_s)
    world.submit()
    world.finish()
    later(world, 3 * SOON_S)
    assert left.exists()
