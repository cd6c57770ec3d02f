"""The end of a batch: its report, its intermediates, its notice, its terminal state, in this order.

Each part may be done again, so a crash between any two only repeats: the terminal state is what ends it.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from muniflow.errors import MuniflowError, Unavailable
from muniflow.model.batch import Batch
from muniflow.model.keys import REPORT, output_key, work_prefix
from muniflow.model.messages import leaf_count
from muniflow.model.report import final_state, image_entry, output_keys, report_chunks, report_header
from muniflow.store.types import Store
from muniflow_coordinator.core import Core
from muniflow_coordinator.notifier import notice_of_run
from muniflow_coordinator.runs.runs import Run
from muniflow_coordinator.state.types import Commit, Counts, ImageRow, State

log = logging.getLogger(__name__)

RETRY_DELAY_S = 2.0
"""Pause before the report is written again after the store was away."""


@dataclass(frozen=True)
class Ending:
    """What the thread that writes a report needs to know; nothing of it changes any more."""

    number: int
    batch: Batch
    counts: Counts
    submitted_at: float
    finished_at: float

    @property
    def report_key(self) -> str:
        """Where the report goes."""
        return output_key(self.batch.destination, REPORT)


def entries(batch: Batch, images: Iterator[ImageRow]) -> Iterator[dict[str, Any]]:
    """The entries of a report."""
    leaves = leaf_count(batch.route)
    for row in images:
        outputs = output_keys(batch.destination, row.stem, batch.encoding, leaves) if row.state == "done" else ()
        yield image_entry(row.image, f"{batch.source}{row.stem}{row.suffix}", row.state, outputs, row.reasons)


def write_report(ending: Ending, state: State, output: Store, stopping: threading.Event) -> None:
    """Write the report as a stream: constant memory, whatever the number of images.

    Raises:
        Unavailable: the store or the database is away, or `stopping` was set.
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
    )
    images = until_stopped(state, ending.number, stopping)
    output.write(ending.report_key, report_chunks(header, entries(ending.batch, images)), durable=True)


def until_stopped(state: State, batch: int, stopping: threading.Event) -> Iterator[ImageRow]:
    """All images of a batch, while this process works; a report of a million must not hold up its end.

    The last look comes before the report takes its place: the report of a successor is not replaced by an older one.
    """
    for image in state.every_image(batch):
        if stopping.is_set():
            raise Unavailable("the coordinator", "it is stopping")
        yield image
    if not state.mine():
        raise Unavailable("the coordinator", "another one has taken over")


class Finisher:
    """Brings batches whose images are all settled to their terminal state."""

    def __init__(self, core: Core, on_finished: Callable[[Run], None]) -> None:
        """Call `on_finished` when the terminal state is recorded."""
        self._loop = core.loop
        self._state = core.state
        self._retry_queue = core.retry_queue
        self._notifier = core.notifier
        self._work = core.stores.work
        self._output = core.stores.output
        self._metrics = core.metrics
        self._on_finished = on_finished
        self._after_report = core.failpoints.at("coordinator.after_report")
        self._after_notice = core.failpoints.at("coordinator.after_notice")
        self._after_end = core.failpoints.at("coordinator.after_end")
        self._pool = ThreadPoolExecutor(2, "finish")
        self._stopping = threading.Event()

    def start(self, run: Run) -> None:
        """Finish a batch in state `finishing`."""
        ending = Ending(run.number, run.batch, run.counts, run.submitted_at, run.finished_at or time.time())
        self._pool.submit(self._write, run, ending)

    def stop(self) -> None:
        """Give up what is not finished; the next start does it again."""
        self._stopping.set()
        self._pool.shutdown(cancel_futures=True)

    def _write(self, run: Run, ending: Ending) -> None:
        while not self._stopping.is_set():
            try:
                write_report(ending, self._state, self._output, self._stopping)
                self._after_report()
                self._remain(run)
                self._work.delete_prefix(work_prefix(run.id))
            except MuniflowError as error:
                self._wait(run, str(error))
            except Exception as error:
                log.exception("finishing failed", extra={"batch": run.id})
                self._wait(run, f"internal error: {error}")
            else:
                run.waiting_for = None
                self._loop.add_callback_threadsafe(lambda: self._announce(run, ending))
                return

    def _remain(self, run: Run) -> None:
        """Do not remove what a successor may have made meanwhile for the next run of an image."""
        if self._stopping.is_set() or not self._state.mine():
            raise Unavailable("the coordinator", f"another one finishes batch {run.id}")

    def _wait(self, run: Run, reason: str) -> None:
        if run.waiting_for is None and not self._stopping.is_set():
            log.warning("the report waits: %s", reason, extra={"batch": run.id})
        run.waiting_for = reason
        self._stopping.wait(RETRY_DELAY_S)

    def _announce(self, run: Run, ending: Ending) -> None:
        counts = ending.counts
        state = final_state(counts.done, counts.failed, counts.cancelled)
        notice = notice_of_run(run).model_copy(update={"state": state, "report": ending.report_key})

        def announced() -> None:
            self._after_notice()
            self._retry_queue.run(recorded)

        def recorded() -> None:
            self._state.commit([Commit(run.number, state=state, report=ending.report_key)])
            self._after_end()
            run.state = state
            self._metrics.batches_ended.labels(state).inc()
            self._metrics.batch_seconds.observe(max(time.time() - ending.submitted_at, 0.0))
            log.info("batch %s", state, extra={"batch": run.id, "done": counts.done, "failed": counts.failed})
            self._on_finished(run)

        self._notifier.send(notice, announced)
