"""Erases ended batches, or one of their images: from the stores, then from the ledger.

What is to be erased is recorded first, so a coordinator that starts again goes on with it, and each part may be
repeated. An audit row says at the end what was removed.
"""

import hashlib
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from muniflow.errors import NotFound, Unavailable
from muniflow.model.audit import AuditEntry
from muniflow.model.batch import Batch
from muniflow.model.keys import is_upload, work_prefix
from muniflow.model.owners import DEFAULT_OWNER
from muniflow.model.report_redacted import erased_name
from muniflow.runtime.clock import Clock
from muniflow.runtime.executor import Executor
from muniflow.runtime.loop import Loop
from muniflow.store.erasing import Erased, OutputEraser, erase_unfinished, erase_uploads
from muniflow_coordinator.cleanup.archived import ArchivedReport
from muniflow_coordinator.cleanup.late_outputs import RETRY_DELAY_S, LateOutputs
from muniflow_coordinator.cleanup.orphans import Sweeper
from muniflow_coordinator.foresight.forecasts import Forecasts
from muniflow_coordinator.resources import Stores
from muniflow_coordinator.retry_queue import RetryQueue
from muniflow_coordinator.runs.spec import read_spec
from muniflow_coordinator.state.erasure_types import Erasure
from muniflow_coordinator.state.types import BatchRow, Commit, Counts, State

log = logging.getLogger(__name__)
BUG_DELAY_S = 60.0
"""Pause before the stores are asked again after an error that should not be."""
SLICE = 10_000
"""Images of one transaction."""


class _Removed(NamedTuple):
    """What was removed from the stores."""

    erased: Erased
    late: OutputEraser | None = None
    """The outputs of a whole batch that ended so short a time ago that more of them may come."""
    counts: Counts | None = None
    """Of a batch, where its report alone knows what its erased image was."""


@dataclass(eq=False)
class Eraser:
    """Erases one batch after the other."""

    loop: Loop
    clock: Clock
    executor: Executor
    state: State
    stores: Stores
    retry_queue: RetryQueue
    forecasts: Forecasts
    sweeper: Sweeper
    late: LateOutputs
    _erasing: set[str] = field(init=False, default_factory=set)

    def has(self, batch_id: str) -> bool:
        """Return whether this batch, or an image of it, is being erased."""
        return batch_id in self._erasing

    def begin(self, erasure: Erasure) -> None:
        """Record an erasure of a batch that has ended, and begin it. In the retry queue."""
        self.state.keep_erasure(erasure)
        self._start(erasure)

    def begin_refused(self, batch_id: str, owner: str | None, sender: tuple[str, str]) -> None:
        """Erase what the ledger has of a batch that was refused; `owner`: only of this one. In the retry queue."""
        if owner is None or self.state.rejections(batch=batch_id, owner=owner, limit=1):
            self.begin(Erasure(batch_id, None, owner or DEFAULT_OWNER, *sender, self.clock.now_s()))

    def resume(self) -> None:
        """Go on with what the last coordinator left. In the retry queue."""
        for erasure in self.state.erasures():
            self._start(erasure)

    def _start(self, erasure: Erasure) -> None:
        if erasure.batch not in self._erasing:
            self._erasing.add(erasure.batch)
            self._submit(erasure)

    def _submit(self, erasure: Erasure) -> None:
        self.executor.submit(partial(self._erase_stores, erasure), partial(self._on_erased, erasure))

    def _on_erased(self, erasure: Erasure, done: Future[_Removed]) -> None:
        try:
            removed = done.result()
        except Unavailable as error:
            log.warning("erasing waits: %s", error, extra={"batch": erasure.batch})
            self.loop.call_later(RETRY_DELAY_S, lambda: self._submit(erasure))
        except Exception:
            log.exception("erasing failed, retrying", extra={"batch": erasure.batch})
            self.loop.call_later(BUG_DELAY_S, lambda: self._submit(erasure))
        else:
            if removed.late is not None:
                self.late.keep(erasure.batch, removed.late)
            self.retry_queue.run(partial(self._erase_rows, erasure, removed))

    # In the executor

    def _erase_stores(self, erasure: Erasure) -> _Removed:
        """Remove it from the stores; a batch that is in the ledger no more was removed from them before."""
        done = Erased()
        row = self.state.find(erasure.batch)
        if row is None:
            return _Removed(done)
        batch = read_spec(row.spec)
        if erasure.image is None:
            outputs = self._erase_batch(row, batch, done)
            return _Removed(
                done, outputs if self.clock.now_s() - (row.finished_at or 0.0) < self.late.after_s else None
            )
        if row.archived_at is not None:
            return self._erase_archived(ArchivedReport(self.stores.output, row), erasure.image, batch, done)
        if found := self.state.opened(row.number, [erasure.image]):
            image, _ = found[0]
            self._erase_image(image.image, (image.stem,), image.stem + image.suffix, batch, done)
        return _Removed(done)

    def _stopped(self) -> bool:
        return self.executor.stopped

    def _outputs(self, batch: Batch) -> OutputEraser:
        return OutputEraser(self.stores.output, batch.batch_id, batch.destination, self._stopped)

    def _erase_batch(self, row: BatchRow, batch: Batch, done: Erased) -> OutputEraser:
        outputs = self._outputs(batch)
        for stem in self._stems(row, done):
            outputs.add(stem)
        outputs.erase(done)
        erase_unfinished(self.stores.output, batch.destination, self.clock.now_s(), self._stopped)
        if is_upload(batch.source, batch.batch_id):
            done.uploads += erase_uploads(self.stores.source, batch.batch_id, self._stopped)
        self.stores.work.delete_prefix(work_prefix(batch.batch_id))
        return outputs

    def _stems(self, row: BatchRow, done: Erased) -> Iterator[str]:
        """Yield what the outputs of a batch are called."""
        if row.archived_at is None:
            yield from (image.stem for image in self.state.every_image(row.number))
            return
        report = ArchivedReport(self.stores.output, row)
        try:
            for entry in report.entries():
                yield from report.stems(entry)
        except NotFound:  # somebody removed it, or all of this is done a second time
            done.unnamed = next(self.stores.output.list(f"{row.destination}/"), None) is not None

    def _erase_archived(self, report: ArchivedReport, image: int, batch: Batch, done: Erased) -> _Removed:
        """Remove one image of an archived batch; that has its counts from its report then."""
        try:
            if (entry := next(report.entries(image - 1), None)) is not None:
                name = entry.source.removeprefix(batch.source)
                self._erase_image(image, report.stems(entry), name, batch, done)
            return _Removed(done, counts=report.counts())
        except NotFound:
            done.unnamed = True
            return _Removed(done)

    def _erase_image(self, image: int, stems: tuple[str, ...], name: str, batch: Batch, done: Erased) -> None:
        """Remove what is called so. Last from the reports: in that of an archived batch alone it has a name."""
        if is_upload(batch.source, batch.batch_id):
            done.uploads += erase_uploads(self.stores.source, batch.batch_id, self._stopped, name=name)
        self.stores.work.delete_prefix(work_prefix(batch.batch_id, image))
        outputs = self._outputs(batch)
        for stem in stems:
            outputs.add(stem)
        outputs.erase_image(image, done)

    # In the retry queue

    def _erase_rows(self, erasure: Erasure, removed: _Removed) -> None:
        row, erased = self.state.find(erasure.batch), removed.erased
        if row is not None and erasure.image is not None:
            self.state.erase_image(row.number, erasure.image, erased_name(erasure.image))
            if removed.counts is not None:
                self.state.commit([Commit(row.number, counts=removed.counts)])
        elif row is not None and self.state.drop_images(row.number, SLICE):
            again: Callable[[], None] = partial(self._erase_rows, erasure, removed)
            self.loop.call_later(0, lambda: self.retry_queue.run(again))
            return
        if erasure.image is None:
            self.forecasts.forget(erasure.batch)
        self.state.end_erasure(erasure, self._entry(erasure, erased))
        self._erasing.discard(erasure.batch)
        log.info("erased: %s", erased, extra={"batch": erasure.batch, "image": erasure.image})
        if row is not None and erasure.image is None:
            self.sweeper.add(erasure.batch, row.destination)  # a task that is done twice may still write intermediates
        for waiting in self.state.erasures():
            if waiting.batch == erasure.batch:
                self._start(waiting)

    def _entry(self, erasure: Erasure, erased: Erased) -> AuditEntry:
        named = f"{erasure.batch}\0{erasure.image}\0{erasure.asked_at}"
        what = "erased" if erasure.image is None else f"erased image {erasure.image}"
        return AuditEntry(
            id=f"erased-{hashlib.sha256(named.encode()).hexdigest()[:40]}",
            at=self.clock.now_s(),
            action="delete",
            owner=erasure.owner,
            by=erasure.by,
            origin=erasure.origin,
            batch=erasure.batch,
            detail=f"{what}: {erased}",
        )
