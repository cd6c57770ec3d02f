"""Ends a batch: writes its report, removes its intermediates, publishes its notice, records its terminal state.

In this order. Each part may be repeated, so a crash between two of them does no harm.
"""

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

from muniflow.errors import MuniflowError, Unavailable
from muniflow.model.batch import Batch
from muniflow.model.checksums import NO_SUMS, ImageSums
from muniflow.model.keys import REPORT, output_key, work_prefix
from muniflow.model.messages import BatchState, Notice, leaf_count
from muniflow.model.report import (
    About,
    ForecastEntry,
    final_state,
    image_entry,
    output_keys,
    report_chunks,
    report_header,
)
from muniflow.runtime.clock import Clock
from muniflow.runtime.executor import Executor
from muniflow.runtime.failpoints import Failpoints
from muniflow.runtime.loop import Loop
from muniflow.store.types import Store
from muniflow_coordinator.metrics import Metrics
from muniflow_coordinator.notifier import Notifier, notice_of_run
from muniflow_coordinator.resources import Stores
from muniflow_coordinator.retry_queue import RetryQueue
from muniflow_coordinator.runs.revisions import revision_of
from muniflow_coordinator.runs.runs import Run
from muniflow_coordinator.state.types import Commit, Counts, ImageRow, State

log = logging.getLogger(__name__)

RETRY_DELAY_S = 2.0
"""Pause before the report is written again after the store was not available."""


@dataclass(frozen=True)
class Ending:
    """What a report says of its batch, beside the images; it does not change any more."""

    number: int
    batch: Batch
    counts: Counts
    submitted_at: float
    finished_at: float
    forecast: ForecastEntry

    @property
    def report_key(self) -> str:
        """The key of the report in the output store."""
        return output_key(self.batch.destination, REPORT)


def entries(batch: Batch, images: Iterator[ImageRow]) -> Iterator[dict[str, Any]]:
    """Yield the entries of a report."""
    leaves = leaf_count(batch.route)
    for row in images:
        outputs = output_keys(batch.destination, row.stem, batch.encoding, leaves) if row.state == "done" else ()
        source = f"{batch.source}{row.stem}{row.suffix}"
        sums = _sums_of(row) if batch.checksums else None
        said = (row.image, source, row.state, outputs, row.reasons)
        yield image_entry(*said, code=row.code, sums=sums, about=_about(batch, row))


def _about(batch: Batch, row: ImageRow) -> About:
    if row.state != "done":
        return About(row.version)
    made = revision_of(row.run)
    return About(row.version, made if made < batch.revision else None, row.metadata)


def _sums_of(row: ImageRow) -> ImageSums:
    return row.sums if row.sums is not None and row.state == "done" else NO_SUMS


def write_report(ending: Ending, state: State, output: Store, stopped: Callable[[], bool]) -> None:
    """Write the report as a stream: constant memory for any number of images.

    Raises:
        Unavailable: the store or the database is not available, or `stopped()` is true.
    """
    counts = ending.counts
    header = report_header(
        ending.batch,
        final_state(counts.done, counts.failed, counts.cancelled),
        done=counts.done,
        failed=counts.failed,
        cancelled=counts.cancelled,
        submitted_at=ending.submitted_at,
        finished_at=ending.finished_at,
        forecast=ending.forecast,
    )
    images = until_stopped(state, ending.number, stopped)
    output.write(ending.report_key, report_chunks(header, entries(ending.batch, images)), durable=True)


def until_stopped(state: State, batch: int, stopped: Callable[[], bool]) -> Iterator[ImageRow]:
    """Yield all images of a batch while this process leads; a report of a million images must not delay a shutdown.

    The last check comes before the report replaces another one, so an old leader does not replace its successor's.
    """
    for image in state.every_image(batch):
        if stopped():
            raise Unavailable("the coordinator", "it is stopping")
        yield image
    if not state.mine():
        raise Unavailable("the coordinator", "another one has taken over")


@dataclass(eq=False)
class Finisher:
    """Brings batches with all images settled to their terminal state."""

    loop: Loop
    clock: Clock
    executor: Executor
    state: State
    stores: Stores
    retry_queue: RetryQueue
    notifier: Notifier
    metrics: Metrics
    failpoints: Failpoints
    forecast_of: Callable[[Run, float], ForecastEntry]
    """What was forecast for a batch that took so many seconds."""
    on_ending: Callable[[Run, Notice], None]
    """Called with the last notice before the terminal state is recorded, in the retry queue; perhaps again."""
    on_ended: Callable[[Run, BatchState], None]
    """Called with the terminal state when it is recorded, before `on_finished`."""
    on_finished: Callable[[Run], None]
    """Called when the terminal state is recorded."""

    def __post_init__(self) -> None:
        """Look up the failpoints."""
        self._after_report = self.failpoints.at("coordinator.after_report")
        self._after_notice = self.failpoints.at("coordinator.after_notice")
        self._after_end = self.failpoints.at("coordinator.after_end")

    def complete(self, run: Run) -> None:
        """Record that no image of a batch is pending any more, and finish it. In the retry queue."""
        now = self.clock.now_s()
        self.state.commit([Commit(run.number, state="finishing", finished_at=now)])
        run.state, run.finished_at = "finishing", now
        self.start(run)

    def start(self, run: Run) -> None:
        """Finish a batch in state `finishing`."""
        finished_at = run.finished_at or self.clock.now_s()
        forecast = self.forecast_of(run, max(finished_at - run.submitted_at, 0.0))
        self._submit(run, Ending(run.number, run.batch, run.counts, run.submitted_at, finished_at, forecast))

    def _submit(self, run: Run, ending: Ending) -> None:
        self.executor.submit(partial(self._write, ending), partial(self._on_written, run, ending))

    def _write(self, ending: Ending) -> None:
        write_report(ending, self.state, self.stores.output, lambda: self.executor.stopped)
        self._after_report()
        # A successor may have re-opened the batch and made new intermediates.
        if self.executor.stopped or not self.state.mine():
            raise Unavailable("the coordinator", f"another one finishes batch {ending.batch.batch_id}")
        self.stores.work.delete_prefix(work_prefix(ending.batch.batch_id))

    def _on_written(self, run: Run, ending: Ending, done: Future[None]) -> None:
        try:
            done.result()
        except MuniflowError as error:
            self._retry(run, ending, str(error))
        except Exception as error:
            log.exception("finishing failed", extra={"batch": run.id})
            self._retry(run, ending, f"internal error: {error}")
        else:
            run.waiting_for = None
            self._announce(run, ending)

    def _retry(self, run: Run, ending: Ending, reason: str) -> None:
        if run.waiting_for is None:
            log.warning("cannot write the report, retrying: %s", reason, extra={"batch": run.id})
        run.waiting_for = reason
        self.loop.call_later(RETRY_DELAY_S, lambda: self._submit(run, ending))

    def _announce(self, run: Run, ending: Ending) -> None:
        counts = ending.counts
        state = final_state(counts.done, counts.failed, counts.cancelled)
        notice = notice_of_run(run).model_copy(update={"state": state, "report": ending.report_key})
        run.announced = True

        def announced() -> None:
            self._after_notice()
            self.retry_queue.run(recorded)

        def recorded() -> None:
            self.on_ending(run, notice)
            self.state.commit([Commit(run.number, state=state, report=ending.report_key)])
            self._after_end()
            run.state = state
            self.metrics.batches_ended.labels(state).inc()
            self.metrics.batch_seconds.observe(max(self.clock.now_s() - ending.submitted_at, 0.0))
            log.info("batch %s", state, extra={"batch": run.id, "done": counts.done, "failed": counts.failed})
            self.on_ended(run, state)
            self.on_finished(run)

        self.notifier.send(notice, announced)
