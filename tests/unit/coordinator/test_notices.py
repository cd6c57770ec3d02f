"""What a batch says of itself while it goes on: few notices, and none after its end."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.coordinator.test_parts import BATCH

from muniflow.model.messages import Notice
from muniflow.model.topology import ONGOING, PROGRESS
from muniflow.testing.virtual_time import VirtualClock, VirtualLoop
from muniflow_coordinator.handlers.progress_notices import LEAST_S, LONGEST_S, ProgressNotices
from muniflow_coordinator.runs.runs import Run
from muniflow_coordinator.state.types import Counts

if TYPE_CHECKING:
    from tests.unit.coordinator.conftest import CoordinatorHarness

TOTAL = 10_000


class _Notifier:
    def __init__(self) -> None:
        self.sent: list[Notice] = []
        self.busy = False

    def idle(self, batch: str) -> bool:
        return batch == BATCH.batch_id and not self.busy

    def send(self, notice: Notice, *, event: str) -> None:
        assert event == PROGRESS
        self.sent.append(notice)


class _Batch:
    """A batch whose images are settled at a steady rate."""

    def __init__(self) -> None:
        self.clock, self.notifier = VirtualClock(), _Notifier()
        stub: Any = self.notifier
        self.notices = ProgressNotices(VirtualLoop(self.clock), self.clock, stub, stub)
        self.run = Run.fresh(1, BATCH, Counts(TOTAL), 0.0, self.clock)

    def settle(self, done: int, after_s: float) -> int:
        """Returns how many notices there are now."""
        self.clock.advance_to(self.clock.monotonic_s() + after_s)
        self.run.counts = Counts(TOTAL, done=done)
        self.notices.settled(self.run)
        return len(self.notifier.sent)


@pytest.mark.parametrize("seconds", [0.5, 5.0, 60.0, 600.0, 36_000.0])
def test_a_batch_has_about_20_notices_and_one_for_each_10_seconds(seconds: float) -> None:
    batch = _Batch()
    for done in range(10, TOTAL + 1, 10):
        batch.settle(done, seconds / 1000)
    sent = [notice.done for notice in batch.notifier.sent]
    assert min(seconds / LONGEST_S * 0.5, 900) - 1 <= len(sent) <= min(20 + seconds / LONGEST_S, seconds / LEAST_S)
    assert sent == sorted(set(sent))
    assert not sent or sent[-1] < TOTAL, "the last image is told by the notice of the end"


def test_a_notice_that_the_broker_does_not_confirm_is_followed_by_no_other() -> None:
    batch = _Batch()
    batch.settle(1, 0.0)
    batch.notifier.busy = True
    assert batch.settle(1000, 5.0) == 0
    batch.notifier.busy = False
    assert batch.settle(1001, 0.1) == 1, "one that stands for both"


def test_images_that_run_again_begin_anew() -> None:
    batch = _Batch()
    batch.settle(0, 0.0)
    assert batch.settle(5000, 2.0) == 1
    assert batch.settle(100, 2.0) == 1
    assert batch.settle(1000, 2.0) == 2


def test_nothing_new_is_no_news() -> None:
    batch = _Batch()
    batch.settle(0, 0.0)
    assert batch.settle(1, 20.0) == 1
    assert batch.settle(1, 20.0) == 1


@pytest.fixture
def here(tmp_path: Path, virtual_harness: "Callable[[Path], CoordinatorHarness]") -> "Iterator[CoordinatorHarness]":
    with closing(virtual_harness(tmp_path / "one")) as made:
        yield made


def test_a_running_batch_tells_how_far_it_is_and_what_it_skipped_by_its_name(here: "CoordinatorHarness") -> None:
    here.pictures(40)
    (here.root / "source/in/a.txt").write_text("notes")
    here.start(window_images=40)
    here.hold = True
    here.submit(name="De Bilt, autumn")
    here.until(lambda: len(here.held) == 40)
    for done in (1, 10):
        here.let_go(first=done)
        here.until(lambda done=done: here.state and (row := here.state.find("b")) and row.counts.done >= done)  # type: ignore[misc]
        here.loop.call_later(2.0, here.loop.stop)
        here.loop.start()
    here.let_go()
    here.finish()
    skipped, *progress = here.news
    assert (skipped.state, skipped.skipped, skipped.done) == ("running", 1, 0)
    assert [(notice.state, notice.done, notice.total) for notice in progress] == [("running", 11, 40)]
    assert {notice.name for notice in here.news + here.notices} == {"De Bilt, autumn"}
    assert [notice.state for notice in here.notices] == ["running", "done"], f"without {ONGOING}"
    assert here.report()["name"] == "De Bilt, autumn"
