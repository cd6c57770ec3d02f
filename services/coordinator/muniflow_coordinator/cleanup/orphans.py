"""Removes what is left of batches a while after their end: unfinished files of killed processes, late intermediates.

A worker that loses its connection computes on what it has begun, and nobody learns of the intermediates that it writes
after the end of their batch.
"""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from muniflow.errors import MuniflowError
from muniflow.model.messages import TERMINAL
from muniflow.runtime.clock import Clock
from muniflow.runtime.executor import Executor
from muniflow.runtime.loop import Loop
from muniflow.store.types import KeepsUnfinished, Store
from muniflow_coordinator.cleanup.cleaner import Cleaner
from muniflow_coordinator.retry_queue import RetryQueue
from muniflow_coordinator.runs.runs import Runs
from muniflow_coordinator.state.types import BatchRow, State

log = logging.getLogger(__name__)

SLACK_S = 1.0
"""File systems record times to a second or better."""
RETRY_DELAY_S = 30.0
"""Pause before a store is asked again after it was not available."""
LOOK_BACK = 1000
"""Ended batches that are checked after a start: the newest ones,"""
LOOK_BACK_S = 86_400.0
"""and only if they ended within this time: no coordinator is stopped for longer."""


@dataclass(eq=False)
class Sweeper:
    """Sweeps the destination and the intermediates of each batch once, `after_s` seconds after its end.

    By then no write that began before the end is still running: no blob takes so long. A duplicate task after the end
    writes newer files, and these are kept. A sweep walks through the destination once: about a second for a million
    outputs.
    """

    loop: Loop
    clock: Clock
    executor: Executor
    output: Store
    after_s: float
    """0: never."""
    state: State
    retry_queue: RetryQueue
    runs: Runs
    cleaner: Cleaner

    def add(self, batch_id: str, destination: str, ended_s_ago: float = 0.0) -> None:
        """Sweep for a batch that has ended."""
        if self.after_s > 0:
            wait_s = max(self.after_s + SLACK_S - ended_s_ago, 0.0)
            self.loop.call_later(wait_s, partial(self._sweep, batch_id, destination))

    def resume(self, newest: Sequence[BatchRow]) -> None:
        """Sweep for batches that ended before this process started."""
        now_s = self.clock.now_s()
        for row in newest:
            ago_s = now_s - (row.finished_at or 0.0)
            if row.state in TERMINAL and ago_s < self.after_s + LOOK_BACK_S:
                self.add(row.id, row.destination, ago_s)

    def _sweep(self, batch_id: str, destination: str) -> None:
        self._clean(batch_id)
        if isinstance(self.output, KeepsUnfinished):
            self._sweep_outputs(self.output, destination, self.clock.now_s() - self.after_s)

    def _clean(self, batch_id: str) -> None:
        """Remove intermediates."""

        def clean() -> None:
            if self.runs.get(batch_id) is None and self.state.mine():  # else it may have been re-opened
                self.cleaner.add_all(batch_id, partial(self._again, partial(self._clean, batch_id)))

        if not self.executor.stopped:
            self.retry_queue.run(clean)

    def _sweep_outputs(self, output: KeepsUnfinished, destination: str, before_s: float) -> None:
        if not self.executor.stopped:
            self.executor.submit(
                lambda: output.remove_unfinished(f"{destination}/", before_s, lambda: self.executor.stopped),
                partial(self._swept, destination, partial(self._sweep_outputs, output, destination, before_s)),
            )

    def _swept(self, destination: str, again: Callable[[], None], done: Future[int]) -> None:
        try:
            removed = done.result()
        except MuniflowError as error:
            log.debug("cannot remove unfinished files: %s", error, extra={"destination": destination})
            self._again(again)
        except Exception:
            log.exception("removing unfinished files failed", extra={"destination": destination})
        else:
            if removed:
                log.info("removed unfinished files of killed processes", extra={"files": removed})

    def _again(self, what: Callable[[], None]) -> None:
        self.loop.call_later(RETRY_DELAY_S, what)
