"""Reads the lists of images of new batches beside the loop, and records them chunk by chunk."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from muniflow.errors import Fault, Invalid, Unavailable
from muniflow.model.batch import Batch
from muniflow.runtime.executor import Executor
from muniflow.runtime.loop import Loop
from muniflow.store.types import Store
from muniflow.transport.types import Delivery
from muniflow_coordinator.handlers.image_list import Chunks, name_faults, names_differ
from muniflow_coordinator.retry_queue import RetryQueue
from muniflow_coordinator.state.types import ImageRow, State

log = logging.getLogger(__name__)
T = TypeVar("T")

CHUNKS_AHEAD = 2
"""Chunks that are read and not yet recorded, so that a fast listing cannot fill the memory."""
RETRY_DELAY_S = 2.0
"""Pause before a list is read again after the source store was not available."""
SLICE = 20_000
"""Rows removed in one transaction."""


@dataclass(eq=False)
class Intake:
    """A batch in state `intake`: its list of images is being read."""

    batch: Batch
    number: int
    deliveries: list[Delivery]
    submitted_at: float
    held: list[Callable[[], None]] = field(default_factory=list)
    """Called once the batch is accepted or rejected."""
    waiting_for: str | None = None
    """Why its list cannot be read."""
    absent: int = 0
    """Images that have failed already, as their sources are not there."""


Intakes = dict[str, Intake]
"""All batches in state `intake`, by their ids."""
OnRead = Callable[[Intake, int, Sequence[ImageRow]], None]
"""`(intake, total, rows)`: the list is valid; `rows` are all images if they are few, else they are recorded."""
OnRejected = Callable[[Intake, tuple[Fault, ...]], None]


@dataclass(eq=False)
class _Reading:
    """One attempt to read a list."""

    intake: Intake
    on_read: OnRead
    on_rejected: OnRejected
    chunks: Chunks
    total: int = 0
    unrecorded: int = 0
    """Chunks that wait to be recorded."""
    busy: bool = False
    """Whether a chunk is being read now."""
    ended: bool = False
    """Whether the last chunk was read."""
    failed: bool = False


@dataclass(eq=False)
class ListReader:
    """Reads lists of images; several at a time, one chunk of each."""

    loop: Loop
    executor: Executor
    state: State
    retry_queue: RetryQueue
    source: Store
    output: Store
    too_many: Callable[[Batch, int], tuple[Fault, ...]] = lambda _batch, _count: ()
    """Why a batch may not have so many images; asked while its list is read."""

    def read(self, intake: Intake, on_read: OnRead, on_rejected: OnRejected) -> None:
        """Read and record all images of a batch, then call one of both in the retry queue."""
        chunks = Chunks(intake.batch, self.source, self.output, intake.submitted_at)
        self._read_on(_Reading(intake, on_read, on_rejected, chunks))

    def remove_images(self, number: int, then: Callable[[], object]) -> None:
        """Remove the recorded images of a batch, slice by slice, then call `then`. In the retry queue."""
        if self.state.drop_images(number, SLICE):
            self.loop.call_later(0, lambda: self.retry_queue.run(lambda: self.remove_images(number, then)))
        else:
            then()

    def _read_on(self, reading: _Reading) -> None:
        if not (reading.busy or reading.ended or reading.failed) and reading.unrecorded < CHUNKS_AHEAD:
            reading.busy = True
            self.executor.submit(reading.chunks.next, partial(self._on_chunk, reading))

    def _on_chunk(self, reading: _Reading, done: Future[list[ImageRow]]) -> None:
        reading.busy = False
        if (chunk := self._result(reading, done)) is None:
            return
        first = not reading.total
        reading.total += len(chunk)
        if faults := self.too_many(reading.intake.batch, reading.total):
            self._reject(reading, faults if reading.chunks.ended else _at_least(faults))
            return
        reading.ended = reading.chunks.ended
        if reading.ended:
            found = reading.chunks
            reading.intake.absent = found.absent
            reading.intake.batch = replace(
                reading.intake.batch,
                skipped=found.skipped,
                replaced=found.replaced,
                revision=found.revision,
                changes=found.changes,
            )
        if first and reading.ended and names_differ(chunk):
            self.retry_queue.run(lambda: reading.on_read(reading.intake, reading.total, chunk))
            return
        reading.unrecorded += 1
        self.retry_queue.run(lambda: self._record(reading, chunk))
        self._read_on(reading)

    def _record(self, reading: _Reading, chunk: Sequence[ImageRow]) -> None:
        if reading.failed:
            return
        self.state.insert_images(reading.intake.number, chunk)
        reading.unrecorded -= 1
        self._read_on(reading)
        if reading.ended and not reading.unrecorded:
            intake = reading.intake
            check = partial(_check, reading, intake, self.state)
            self.executor.submit(check, partial(self._on_checked, reading))

    def _on_checked(self, reading: _Reading, done: Future[tuple[Fault, ...]]) -> None:
        if faults := self._result(reading, done):
            self._reject(reading, faults)
        elif faults is not None:
            reading.intake.batch = replace(reading.intake.batch, replaced=reading.chunks.replaced)
            self.retry_queue.run(lambda: reading.on_read(reading.intake, reading.total, ()))

    def _result(self, reading: _Reading, done: Future[T]) -> T | None:
        """Return the result; after an error, decide what to do about it and return `None`."""
        batch_id = reading.intake.batch.batch_id
        try:
            return done.result()
        except Invalid as invalid:
            self._reject(reading, invalid.faults)
        except Unavailable as error:
            if reading.intake.waiting_for is None:
                log.warning("cannot read the list of images, retrying: %s", error, extra={"batch": batch_id})
            reading.intake.waiting_for = str(error)
            again = partial(self.read, reading.intake, reading.on_read, reading.on_rejected)
            self._fail(reading, lambda: self.loop.call_later(RETRY_DELAY_S, again))
        except Exception as error:
            log.exception("reading the list of images failed", extra={"batch": batch_id})
            self._reject(reading, (Fault("", f"internal error: {type(error).__name__}: {error}"),))
        return None

    def _reject(self, reading: _Reading, faults: tuple[Fault, ...]) -> None:
        self._fail(reading, lambda: self.retry_queue.run(lambda: reading.on_rejected(reading.intake, faults)))

    def _fail(self, reading: _Reading, then: Callable[[], object]) -> None:
        reading.failed = True
        self.retry_queue.run(lambda: self.remove_images(reading.intake.number, then))


def _at_least(faults: tuple[Fault, ...]) -> tuple[Fault, ...]:
    """Return the faults of a list that is not read to its end, as there is no use in that."""
    return tuple(replace(fault, problem=f"{fault.problem}, and its list goes on") for fault in faults)


def _check(reading: _Reading, intake: Intake, state: State) -> tuple[Fault, ...]:
    """Return the faults of a recorded list; where there is none, old outputs are cleared."""
    faults = name_faults(intake.batch, intake.number, state)
    if not faults:
        reading.chunks.clear()
    return faults
