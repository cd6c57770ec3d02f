"""Erases ended batches, or one of their images: from the stores, then from the ledger.

What is to be erased is recorded first, so a coordinator that starts again goes on with it, and each part may be
repeated. An audit row says at the end what was removed.
"""

import hashlib
import logging
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial

from muniflow.errors import Unavailable
from muniflow.model.audit import AuditEntry
from muniflow.model.batch import Batch
from muniflow.model.keys import is_upload, work_prefix
from muniflow.model.owners import DEFAULT_OWNER
from muniflow.model.report_redacted import erased_name
from muniflow.runtime.clock import Clock
from muniflow.runtime.executor import Executor
from muniflow.runtime.loop import Loop
from muniflow.store.erasing import Erased, OutputEraser, erase_unfinished, erase_uploads
from muniflow_coordinator.cleanup.late_outputs import RETRY_DELAY_S, LateOutputs
from muniflow_coordinator.cleanup.orphans import Sweeper
from muniflow_coordinator.foresight.forecasts import Forecasts
from muniflow_coordinator.resources import Stores
from muniflow_coordinator.retry_queue import RetryQueue
from muniflow_coordinator.runs.spec import read_spec
from muniflow_coordinator.state.erasure_types import Erasure
from muniflow_coordinator.state.types import BatchRow, ImageRow, State

log = logging.getLogger(__name__)
BUG_DELAY_S = 60.0
"""Pause before the stores are asked again after an error that should not be."""
SLICE = 10_000
"""Images of one transaction."""


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

    def _on_erased(self, erasure: Erasure, done: Future[tuple[Erased, OutputEraser | None]]) -> None:
        try:
            erased, outputs = done.result()
        except Unavailable as error:
            log.warning("erasing waits: %s", error, extra={"batch": erasure.batch})
            self.loop.call_later(RETRY_DELAY_S, lambda: self._submit(erasure))
        except Exception:
            log.exception("erasing failed, retrying", extra={"batch": erasure.batch})
            self.loop.call_later(BUG_DELAY_S, lambda: self._submit(erasure))
        else:
            if outputs is not None:
                self.late.keep(erasure.batch, outputs)
            self.retry_queue.run(partial(self._erase_rows, erasure, erased))

    # In the executor

    def _erase_stores(self, erasure: Erasure) -> tuple[Erased, OutputEraser | None]:
        """Remove it from the stores; a batch that is in the ledger no more was removed from them before.

        Returns:
            How much, and the outputs of a whole batch that ended so short a time ago that more of them may come.
        """
        done, late = Erased(), None
        row = self.state.find(erasure.batch)
        if row is None:
            return done, late
        batch = read_spec(row.spec)
        if erasure.image is None:
            outputs = self._erase_batch(row, batch, done)
            late = outputs if self.clock.now_s() - (row.finished_at or 0.0) < self.late.after_s else None
        elif found := self.state.opened(row.number, [erasure.image]):
            self._erase_image(found[0][0], batch, done)
        return done, late

    def _stopped(self) -> bool:
        return self.executor.stopped

    def _outputs(self, batch: Batch) -> OutputEraser:
        return OutputEraser(self.stores.output, batch.batch_id, batch.destination, self._stopped)

    def _erase_batch(self, row: BatchRow, batch: Batch, done: Erased) -> OutputEraser:
        outputs = self._outputs(batch)
        for image in self.state.every_image(row.number):
            outputs.add(image.stem)
        outputs.erase(done)
        erase_unfinished(self.stores.output, batch.destination, self.clock.now_s(), self._stopped)
        if is_upload(batch.source, batch.batch_id):
            done.uploads += erase_uploads(self.stores.source, batch.batch_id, self._stopped)
        self.stores.work.delete_prefix(work_prefix(batch.batch_id))
        return outputs

    def _erase_image(self, image: ImageRow, batch: Batch, done: Erased) -> None:
        outputs = self._outputs(batch)
        outputs.add(image.stem)
        outputs.erase_image(image.image, done)
        if is_upload(batch.source, batch.batch_id):
            name = image.stem + image.suffix
            done.uploads += erase_uploads(self.stores.source, batch.batch_id, self._stopped, name=name)
        self.stores.work.delete_prefix(work_prefix(batch.batch_id, image.image))

    # In the retry queue

    def _erase_rows(self, erasure: Erasure, erased: Erased) -> None:
        row = self.state.find(erasure.batch)
        if row is not None and erasure.image is not None:
            self.state.erase_image(row.number, erasure.image, erased_name(erasure.image))
        elif row is not None and self.state.drop_images(row.number, SLICE):
            again: Callable[[], None] = partial(self._erase_rows, erasure, erased)
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
