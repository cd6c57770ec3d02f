"""Cancelling batches and re-opening failed images, slice by slice, one command after the other.

A command is acked when it is done, so a crash repeats it. Repeating is safe: cancelling touches only images that are
pending, re-opening only those that are failed.
"""

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from muniflow.model.messages import Command
from muniflow.transport.types import Delivery
from muniflow_coordinator.core import Core
from muniflow_coordinator.handlers.batches import BatchHandler
from muniflow_coordinator.handlers.decode import read_message
from muniflow_coordinator.notifier import notice_of_run
from muniflow_coordinator.runs.runs import Run, may_run
from muniflow_coordinator.state.types import Commit

log = logging.getLogger(__name__)

SLICE = 10_000
"""Images looked at in one transaction."""
CLEANER_AGAIN_S = 0.05


@dataclass(frozen=True)
class Job:
    """A command in hand."""

    command: Command
    ack: Callable[[], None]


class CommandHandler:
    """Takes `muniflow.control`."""

    def __init__(
        self, core: Core, intake: BatchHandler, complete: Callable[[Run], None], resume: Callable[[Run], None]
    ) -> None:
        """Call `complete` when a batch has no pending image left, `resume` when it has some again."""
        self._loop = core.loop
        self._transport = core.transport
        self._state = core.state
        self._retry_queue = core.retry_queue
        self._notifier = core.notifier
        self._runs = core.runs
        self._scheduler = core.scheduler
        self._cleaner = core.cleaner
        self._metrics = core.metrics
        self._intake = intake
        self._complete = complete
        self._resume = resume
        self._jobs: deque[Job] = deque()
        self._busy = False

    def on_delivery(self, delivery: Delivery) -> None:
        """Carry out a command, after those before it."""
        command = read_message(Command, delivery)
        if command is None:
            self._metrics.malformed.labels(delivery.queue).inc()
            self._transport.reject(delivery)
        else:
            self._take(Job(command, lambda: self._transport.ack([delivery])))

    def cancel_again(self, run: Run) -> None:
        """Go on cancelling a batch after a restart."""
        self._take(Job(Command(action="cancel", batch=run.id), lambda: None))

    def _take(self, job: Job) -> None:
        self._jobs.append(job)
        self._next()

    def _next(self) -> None:
        if self._jobs and not self._busy:
            self._busy = True
            job = self._jobs.popleft()
            self._retry_queue.run(lambda: self._begin(job))

    def _end(self, job: Job | None) -> None:
        if job is not None:
            job.ack()
        self._busy = False
        self._next()

    def _hold(self, job: Job, held: list[Callable[[], None]]) -> None:
        """Put a command away until its batch is ready for it; the others go on."""
        held.append(lambda: self._take(job))
        self._end(None)

    def _begin(self, job: Job) -> None:
        batch_id = job.command.batch
        if (intake := self._intake.current(batch_id)) is not None:
            self._hold(job, intake.held)
            return
        run = self._runs.get(batch_id)
        if run is not None and (run.state == "finishing" or (run.cancelling and job.command.action == "reopen")):
            self._hold(job, run.held)
        elif job.command.action == "cancel":
            self._begin_cancel(job, run)
        else:
            self._begin_reopen(job, run)

    # Cancelling

    def _begin_cancel(self, job: Job, run: Run | None) -> None:
        if run is None:
            self._end(job)  # it is in a terminal state, or was never here
            return
        self._state.commit([Commit(run.number, cancelling=True)])
        run.cancelling = True
        self._scheduler.pause(run.number)
        run.read_again()
        log.info("batch is being cancelled", extra={"batch": run.id})
        self._cancel_slice(job, run, 0)

    def _cancel_slice(self, job: Job, run: Run, first: int) -> None:
        if run.state != "running":  # the last images in flight were settled meanwhile
            self._end(job)
            return
        within = range(first, first + SLICE)
        before = run.counts.cancelled
        run.counts = self._state.cancel_images(run.number, within, run.in_flight.keys())
        run.ledger.keep_only(run.in_flight)
        self._metrics.images_settled.labels("cancelled").inc(run.counts.cancelled - before)
        if within.stop < run.counts.total:
            self._later(0, lambda: self._cancel_slice(job, run, within.stop))
            return
        if not run.counts.pending:
            self._complete(run)
        self._end(job)

    # Re-opening

    def _begin_reopen(self, job: Job, run: Run | None) -> None:
        if run is None:
            row = self._state.find(job.command.batch)
            if row is None or not (row.counts.failed or row.state == "running") or not may_run(row):
                self._end(job)
                return
            run = Run.of(row)
            if row.state == "running":
                self._reopened(run, known=False)  # an earlier try was committed, and the answer to that was lost
        image = job.command.image
        run.reopening = True
        images = range(run.counts.total)
        if image is not None:
            images = range(image, image + 1) if image in images else range(0)
        self._reopen_slice(job, run, images)

    def _reopen_slice(self, job: Job, run: Run, images: range) -> None:
        if not images:
            self._end_reopen(job, run)  # there is no such image
            return
        if not self._cleaner.forget(run.id):
            # What removes intermediates of the failed run must not meet those of the next one. In each slice: late
            # events may have come between two of them.
            self._later(CLEANER_AGAIN_S, lambda: self._reopen_slice(job, run, images))
            return
        within = images[:SLICE]
        before = run.counts.failed
        run.counts = self._state.reopen_images(run.number, within)
        if run.counts.failed != before:
            self._reopened(run, known=self._runs.get(run.id) is run)
        if len(images) > SLICE and run.counts.failed:
            self._later(0, lambda: self._reopen_slice(job, run, images[SLICE:]))
            return
        self._end_reopen(job, run)

    def _end_reopen(self, job: Job, run: Run) -> None:
        run.reopening = False
        if self._runs.get(run.id) is run and run.state == "running" and not run.counts.pending:
            self._complete(run)
        self._end(job)

    def _reopened(self, run: Run, *, known: bool) -> None:
        run.read_again()
        if not known:
            run.state, run.cancelling, run.finished_at = "running", False, None
            self._runs.add(run)
            log.info("batch runs again", extra={"batch": run.id})
            self._notifier.send(notice_of_run(run))
        self._resume(run)

    def _later(self, delay_s: float, work: Callable[[], None]) -> None:
        self._loop.call_later(delay_s, lambda: self._retry_queue.run(work))
