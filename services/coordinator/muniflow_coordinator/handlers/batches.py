"""Taking batches in: whole or not at all.

A batch is acked only when all its images are recorded, or its rejection is published. Until then it has the state
`intake`, and its document is kept: the next start reads it again, whether or not the broker brings it again (a message
that comes over twenty connections is given up by the broker; the batch is not).
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from muniflow.errors import Fault, Invalid, Unavailable
from muniflow.model.batch import Batch, read_batch
from muniflow.model.messages import Notice
from muniflow.model.operation import Operations
from muniflow.transport.types import Delivery
from muniflow_coordinator.core import Core
from muniflow_coordinator.handlers.decode import batch_id_of
from muniflow_coordinator.handlers.image_list import Found, Gate, Stopped, check, few_named, read_images
from muniflow_coordinator.notifier import event_of, notice_of_row, notice_of_run, rejection
from muniflow_coordinator.runs.runs import Run
from muniflow_coordinator.runs.spec import write_spec
from muniflow_coordinator.state.types import BatchRow, ImageRow, NewBatch

log = logging.getLogger(__name__)

RETRY_DELAY_S = 2.0
"""Pause before a batch is read again after the source store was away."""
SLICE = 20_000
"""Rows removed in one transaction."""


@dataclass(eq=False)
class Intake:
    """A batch that is being read."""

    batch: Batch
    number: int
    deliveries: list[Delivery]
    submitted_at: float
    held: list[Callable[[], None]] = field(default_factory=list)
    """What waits until it is accepted or refused."""


class BatchHandler:
    """Takes `muniflow.batches`."""

    def __init__(self, core: Core, operations: Operations, on_accepted: Callable[[Run], None], threads: int) -> None:
        """Call `on_accepted` with each new batch once it is recorded; read `threads` batches at a time."""
        self._loop = core.loop
        self._transport = core.transport
        self._state = core.state
        self._retry_queue = core.retry_queue
        self._notifier = core.notifier
        self._runs = core.runs
        self._source = core.stores.source
        self._output = core.stores.output
        self._waits = core.intake_waits
        self._operations = operations
        self._on_accepted = on_accepted
        self._before_accept = core.failpoints.at("coordinator.before_accept")
        self._after_accept = core.failpoints.at("coordinator.after_accept")
        self._pool = ThreadPoolExecutor(threads, "intake")
        self._stopping = threading.Event()
        self._current: dict[str, Intake] = {}

    def stop(self) -> None:
        """Stop reading; what is not accepted comes again."""
        self._stopping.set()
        self._pool.shutdown(cancel_futures=True)

    def current(self, batch_id: str) -> Intake | None:
        """The batch of this id if it is being read now."""
        return self._current.get(batch_id)

    def take_up(self, row: BatchRow, document: bytes | None) -> None:
        """Go on with a batch that was being read when the last coordinator ended."""
        try:
            batch = read_batch(document or b"", self._operations)
        except Invalid as invalid:
            # The steps that it names have gone meanwhile, or an old muniflow kept no document: its message comes again.
            faults = invalid.faults if document else ()
            self._retry_queue.run(partial(self._forget, row, faults))
            return
        self._restart(Intake(batch, row.number, [], row.submitted_at))

    def _restart(self, intake: Intake) -> None:
        self._current[intake.batch.batch_id] = intake
        self._retry_queue.run(lambda: self._drop(intake.number, lambda: self._submit(intake)))

    def _forget(self, row: BatchRow, faults: tuple[Fault, ...]) -> None:
        def end() -> None:
            self._state.drop_batch(row.number)
            if faults:
                self._refuse([], row.id, faults)
                self._notifier.send(rejection(row.id, faults, None))

        self._drop(row.number, end)

    def on_delivery(self, delivery: Delivery) -> None:
        """Check a batch and begin to read its images, or refuse it."""
        try:
            batch = read_batch(delivery.body, self._operations)
        except Invalid as invalid:
            self._refuse([delivery], batch_id_of(delivery.body), invalid.faults)
            return
        self._retry_queue.run(lambda: self._admit(batch, delivery))

    def _admit(self, batch: Batch, delivery: Delivery) -> None:
        current = self._current.get(batch.batch_id)
        known = self._state.find(batch.batch_id)
        if known is not None and known.fingerprint != batch.fingerprint:
            text = f"{batch.batch_id} is the id of another batch with other content"
            self._refuse([delivery], batch.batch_id, (Fault("batch_id", text),))
        elif current is not None:
            current.deliveries.append(delivery)  # most often the same message, over a new connection
        elif known is not None and known.state == "intake":
            # Its insertion was committed, and the answer to that was lost.
            self._restart(Intake(batch, known.number, [delivery], known.submitted_at))
        elif known is not None and known.state == "running" and self._runs.get(known.id) is None:
            # The same, for one that was taken in whole.
            self._work_on(Run.of(known), [delivery])
        elif known is not None:
            self._answer(known, delivery)
        elif (owner := self._state.owner_of(batch.destination)) is not None:
            text = f"{batch.destination} is, holds or lies in the destination of batch {owner}; choose another one"
            self._refuse([delivery], batch.batch_id, (Fault("destination", text),))
        else:
            self._begin(batch, delivery)

    def _answer(self, known: BatchRow, delivery: Delivery) -> None:
        run = self._runs.get(known.id)
        message_id = delivery.message_id
        self._tell(notice_of_row(known, message_id) if run is None else notice_of_run(run, message_id), delivery)

    def _tell(self, notice: Notice, delivery: Delivery) -> None:
        self._notifier.send(notice, lambda: self._transport.ack([delivery]), event=event_of(notice))

    def _begin(self, batch: Batch, delivery: Delivery) -> None:
        now = time.time()
        new = _new_batch(batch, delivery.body, now)
        if (rows := few_named(batch, self._source, self._output)) is not None:
            # Nothing to wait for: one transaction does it all.
            self._before_accept()
            number = self._state.insert_batch(new, rows)
            self._after_accept()
            self._work_on(Run.fresh(number, batch, len(rows), now), [delivery], rows)
            return
        intake = Intake(batch, self._state.insert_batch(new), [delivery], now)
        self._current[batch.batch_id] = intake
        self._submit(intake)

    def _submit(self, intake: Intake) -> None:
        if not self._stopping.is_set():
            self._pool.submit(self._read, intake)

    def _read(self, intake: Intake) -> None:
        """In a thread: everything that the loop is to do goes through `call`."""
        call = self._loop.add_callback_threadsafe
        gate = Gate(self._stopping)

        def hand_over(chunk: list[ImageRow]) -> None:
            call(lambda: self._retry_queue.run(lambda: self._keep(intake, chunk, gate)))

        try:
            found = read_images(intake.batch, self._source, self._output, gate, hand_over)
            if found.rows is None:
                check(intake.batch, intake.number, self._state)
        except Stopped:
            return
        except Invalid as invalid:
            self._take_back(intake, partial(self._end_refused, intake, invalid.faults))
        except Unavailable as error:
            if intake.batch.batch_id not in self._waits:
                log.warning("reading a batch waits: %s", error, extra={"batch": intake.batch.batch_id})
            self._waits[intake.batch.batch_id] = str(error)
            self._take_back(intake, lambda: self._loop.call_later(RETRY_DELAY_S, lambda: self._submit(intake)))
        except Exception as error:
            log.exception("reading a batch failed", extra={"batch": intake.batch.batch_id})
            fault = Fault("", f"internal error: {type(error).__name__}: {error}")
            self._take_back(intake, partial(self._end_refused, intake, (fault,)))
        else:
            call(lambda: self._retry_queue.run(lambda: self._accept(intake, found)))

    def _keep(self, intake: Intake, chunk: list[ImageRow], gate: Gate) -> None:
        self._state.insert_images(intake.number, chunk)
        gate.leave()

    def _take_back(self, intake: Intake, then: Callable[[], object]) -> None:
        # Through the retry queue: chunks that still wait to be recorded are recorded before they are forgotten.
        drop = partial(self._drop, intake.number, then)
        self._loop.add_callback_threadsafe(lambda: self._retry_queue.run(drop))

    def _drop(self, number: int, then: Callable[[], object]) -> None:
        """Forget the images recorded so far, slice by slice, then go on."""
        if self._state.drop_images(number, SLICE):
            self._loop.call_later(0, lambda: self._retry_queue.run(lambda: self._drop(number, then)))
        else:
            then()

    def _end_refused(self, intake: Intake, faults: tuple[Fault, ...]) -> None:
        def forget() -> None:
            self._state.drop_batch(intake.number)
            self._end(intake)
            self._refuse(intake.deliveries, intake.batch.batch_id, faults)
            if not intake.deliveries:
                self._notifier.send(rejection(intake.batch.batch_id, faults, None))

        self._retry_queue.run(forget)

    def _accept(self, intake: Intake, found: Found) -> None:
        rows = found.rows or ()
        self._before_accept()
        self._state.accept_batch(intake.number, found.total, rows)
        self._after_accept()
        run = Run.fresh(intake.number, intake.batch, found.total, intake.submitted_at)
        self._end(intake)
        self._work_on(run, intake.deliveries, rows)

    def _work_on(self, run: Run, deliveries: Sequence[Delivery], rows: Sequence[ImageRow] = ()) -> None:
        """Begin with a batch that is accepted; `rows` are all its images, where they are at hand."""
        if rows:
            run.read_ahead(rows, all_of_them=True)
        self._runs.add(run)
        log.info("batch accepted", extra={"batch": run.id, "images": run.counts.total})
        self._on_accepted(run)
        for delivery in deliveries:
            self._tell(notice_of_run(run, delivery.message_id), delivery)

    def _end(self, intake: Intake) -> None:
        del self._current[intake.batch.batch_id]
        self._waits.pop(intake.batch.batch_id, None)
        for held in intake.held:
            self._loop.call_later(0, held)

    def _refuse(self, deliveries: list[Delivery], batch_id: str, faults: tuple[Fault, ...]) -> None:
        log.warning("batch refused: %s", faults[0] if faults else "", extra={"batch": batch_id, "faults": len(faults)})
        for delivery in deliveries:
            self._notifier.send(
                rejection(batch_id, faults, delivery.message_id),
                partial(self._transport.reject, delivery),
            )


def _new_batch(batch: Batch, document: bytes, now: float) -> NewBatch:
    return NewBatch(
        id=batch.batch_id,
        fingerprint=batch.fingerprint,
        spec=write_spec(batch),
        municipality=batch.municipality,
        weight=batch.weight,
        destination=batch.destination,
        submitted_at=now,
        document=document,
    )
