"""Notices about a batch that goes on: how far it is, and what was skipped; few, whatever its size."""

from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from muniflow.model.topology import PROGRESS, SKIPPED
from muniflow.runtime.clock import Clock
from muniflow.runtime.loop import Loop
from muniflow_coordinator.foresight.deadlines import Deadlines
from muniflow_coordinator.notifier import Notifier, notice_of_run
from muniflow_coordinator.runs.runs import Run

STEP_PERCENT = 5
LEAST_S = 1.0
LONGEST_S = 10.0


class _Told(NamedTuple):
    at_s: float
    settled: int


@dataclass(eq=False)
class ProgressNotices:
    """Tells of a batch when 5% more of its images are settled, or one more and 10 s have passed; once a second at most.

    So there are 20 of them and one for each 10 s, at most. They are news and no promise: what is not confirmed yet when
    the next one is due stands for both, and the notice of the end is always the last.
    """

    loop: Loop
    clock: Clock
    notifier: Notifier
    deadlines: Deadlines
    _told: dict[int, _Told] = field(init=False, default_factory=dict)
    """The last notice of each batch, by its number."""

    def accepted(self, run: Run) -> None:
        """Tell what was skipped of a new batch, after the notice that it is accepted, which may wait for its sizes."""
        if run.batch.skipped.count:
            tell = partial(self._tell_skipped, run)
            self.loop.call_later(0, lambda: self.deadlines.when_known(run, tell))

    def settled(self, run: Run) -> None:
        """Publish a notice after images of a batch were settled, if it is time."""
        now_s, settled = self.clock.monotonic_s(), run.counts.total - run.counts.pending
        told = self._told.setdefault(run.number, _Told(now_s, 0))
        quiet_s, more = now_s - told.at_s, settled - told.settled
        enough = more * 100 >= STEP_PERCENT * run.counts.total or quiet_s >= LONGEST_S
        if more < 0:  # failed images run again
            self._told[run.number] = _Told(now_s, settled)
        elif more and enough and quiet_s >= LEAST_S and self._goes_on(run):
            self._told[run.number] = _Told(now_s, settled)
            self.notifier.send(notice_of_run(run), event=PROGRESS)

    def _tell_skipped(self, run: Run) -> None:
        if not run.announced:  # the notice of its end says it, too, and is its last
            self.notifier.send(notice_of_run(run), event=SKIPPED)

    def _goes_on(self, run: Run) -> bool:
        return run.state == "running" and run.counts.pending > 0 and self.notifier.idle(run.id)

    def forget(self, run: Run) -> None:
        """It has ended."""
        self._told.pop(run.number, None)
