"""Archives ended batches: their report stands for their images from then on, and the rows of these are deleted.

One batch after the other. That its report is whole is verified before anything is deleted. What is archived is recorded
first, so a coordinator that starts again goes on with it.
"""

import logging
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial

from muniflow.errors import Unavailable
from muniflow.runtime.clock import Clock
from muniflow.runtime.executor import Executor
from muniflow.runtime.loop import Loop
from muniflow.store.types import Store
from muniflow_coordinator.cleanup.archived import ArchivedReport
from muniflow_coordinator.cleanup.eraser import SLICE, Eraser
from muniflow_coordinator.retry_queue import RetryQueue
from muniflow_coordinator.runs.runs import Runs
from muniflow_coordinator.state.types import BatchRow, State

log = logging.getLogger(__name__)
REFUSED_S = 86_400.0
"""Pause before a batch whose report cannot stand for it is looked at again."""


@dataclass(eq=False)
class Archiver:
    """Archives what ended long enough ago."""

    loop: Loop
    clock: Clock
    executor: Executor
    state: State
    output: Store
    retry_queue: RetryQueue
    runs: Runs
    eraser: Eraser
    after_s: float | None
    """So long after its end a batch is archived; `None`: never."""
    _busy: bool = field(init=False, default=False)
    _refused: dict[int, float] = field(init=False, default_factory=dict)
    """When those whose report could not stand for them are looked at again, by number; unix seconds."""

    def resume(self) -> None:
        """Go on with what the last coordinator has begun, also where nothing more is archived. In the retry queue."""
        for number in self.state.archiving():
            self._drop(number, lambda: None)

    def look(self) -> None:
        """Archive every batch whose time has come, unless it is at it already. In the retry queue."""
        if self.after_s is not None and not self._busy:
            self._busy = True
            self._next(0)

    def _next(self, after: int) -> None:
        """Go on with the batches that have higher numbers. In the retry queue."""
        now_s = self.clock.now_s()
        while row := self.state.archivable(now_s - (self.after_s or 0.0), after):
            after = row.number
            if not self._is_used(row) and self._refused.get(after, 0.0) <= now_s:
                report = ArchivedReport(self.output, row)
                self.executor.submit(lambda: report.problem(lambda: self.executor.stopped), partial(self._seen, row))  # noqa: B023 - the loop ends
                return
        self._busy = False

    def _is_used(self, row: BatchRow) -> bool:
        return self.runs.get(row.id) is not None or self.eraser.has(row.id)

    def _seen(self, row: BatchRow, done: Future[str | None]) -> None:
        try:
            problem = done.result()
        except Unavailable as error:
            log.warning("archiving waits: %s", error, extra={"batch": row.id})
            self._busy = False  # until the next look
            return
        except Exception as error:
            log.exception("archiving failed", extra={"batch": row.id})
            problem = f"internal error: {error}"
        if problem is None:
            self.retry_queue.run(partial(self._archive, row))
            return
        log.warning("not archived, its images stay in the ledger: %s", problem, extra={"batch": row.id})
        self._refused[row.number] = self.clock.now_s() + REFUSED_S
        self.retry_queue.run(partial(self._next, row.number))

    def _archive(self, row: BatchRow) -> None:
        if self._is_used(row) or not self.state.archive(row.number, self.clock.now_s()):
            self._next(row.number)  # it was opened again meanwhile, or erased
            return
        log.info("archived as its report", extra={"batch": row.id, "images": row.counts.total})
        self._drop(row.number, partial(self.retry_queue.run, partial(self._next, row.number)))

    def _drop(self, number: int, then: Callable[[], None]) -> None:
        """Delete the rows of its images, slice by slice. In the retry queue."""
        if self.state.drop_images(number, SLICE):
            self.loop.call_later(0, lambda: self.retry_queue.run(partial(self._drop, number, then)))
        else:
            self.state.end_archive(number)
            then()
