"""Accepts or rejects new batches, always as a whole.

A batch is acked only when all its images are recorded, or its rejection is published. Until then it has the state
`intake` and its document is kept, so the next start continues without its message: the broker gives a message up after
twenty connections, the coordinator does not give up the batch.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from muniflow.errors import Fault, Invalid
from muniflow.model.batch import Batch, read_batch
from muniflow.model.batch_document import BatchDocument
from muniflow.model.deadline import past_faults, stated_at
from muniflow.model.keys import as_prefix
from muniflow.model.messages import TERMINAL, UNFINISHED, Notice
from muniflow.model.operation import Operations
from muniflow.model.owners import DEFAULT_OWNER
from muniflow.planning.budgets import Needed
from muniflow.runtime.clock import Clock
from muniflow.runtime.failpoints import Failpoints
from muniflow.runtime.loop import Loop
from muniflow.transport.types import Delivery, Transport
from muniflow_coordinator.cleanup.eraser import Eraser
from muniflow_coordinator.foresight.deadlines import Deadlines
from muniflow_coordinator.handlers import taken
from muniflow_coordinator.handlers.audit import AuditTrail
from muniflow_coordinator.handlers.decode import StatedBatch, stated_batch
from muniflow_coordinator.handlers.image_list import few_named
from muniflow_coordinator.handlers.list_reader import Intake, Intakes, ListReader
from muniflow_coordinator.handlers.pricer import Pricer
from muniflow_coordinator.handlers.rejecter import Rejecter
from muniflow_coordinator.handlers.senders import Sender
from muniflow_coordinator.notifier import Notifier, event_of, notice_of_row, notice_of_run
from muniflow_coordinator.resources import Stores
from muniflow_coordinator.retry_queue import RetryQueue
from muniflow_coordinator.runs.runs import Run, Runs
from muniflow_coordinator.runs.spec import read_spec, write_spec
from muniflow_coordinator.state.types import BatchRow, Counts, ImageRow, NewBatch, State

log = logging.getLogger(__name__)


@dataclass(eq=False)
class BatchHandler:
    """Handles `muniflow.batches`."""

    loop: Loop
    clock: Clock
    transport: Transport
    state: State
    stores: Stores
    retry_queue: RetryQueue
    notifier: Notifier
    failpoints: Failpoints
    runs: Runs
    intakes: Intakes
    reader: ListReader
    pricer: Pricer
    operations: Operations
    audit: AuditTrail
    eraser: Eraser
    deadlines: Deadlines
    callback_faults: Callable[[str, str | None], tuple[Fault, ...]]
    """What is wrong with the `callback` of an owner's batch."""
    rejecter: Rejecter
    on_accepted: Sequence[Callable[[Run], None]]
    """Called with each new batch once it is recorded, in order."""
    on_complete: Callable[[Run], None]
    """Called with a new batch whose images are all done already."""

    def __post_init__(self) -> None:
        """Look up the failpoints."""
        self._before_accept = self.failpoints.at("coordinator.before_accept")
        self._after_accept = self.failpoints.at("coordinator.after_accept")

    def resume(self, row: BatchRow, document: bytes | None) -> None:
        """Continue with a batch in state `intake` that the last coordinator left."""
        try:
            batch = read_batch(document or b"", self.operations, row.owner)
        except Invalid as invalid:
            # An operation was uninstalled, or an old muniflow kept no document: then its message comes again.
            faults = invalid.faults if document else ()
            self.retry_queue.run(partial(self._remove, row, faults))
            return
        was = read_spec(row.spec)
        batch = replace(batch, revision=was.revision, submission=was.submission)
        self._restart(Intake(batch, row.number, [], row.submitted_at))

    def _restart(self, intake: Intake) -> None:
        self.intakes[intake.batch.batch_id] = intake
        self.retry_queue.run(lambda: self.reader.remove_images(intake.number, lambda: self._read(intake)))

    def _remove(self, row: BatchRow, faults: tuple[Fault, ...]) -> None:
        def end() -> None:
            self.state.drop_batch(row.number)
            if faults:
                self.rejecter.reject(
                    [], StatedBatch(row.id, row.municipality, read_spec(row.spec).name), faults, row.owner
                )

        self.reader.remove_images(row.number, end)

    def on_delivery(self, delivery: Delivery) -> None:
        """Validate a batch, then reject it or begin to read its list of images."""
        owner = DEFAULT_OWNER
        try:
            sender = self.audit.senders.of(delivery)
            owner = sender.owner
            batch = read_batch(delivery.body, self.operations, owner, partial(self._also_wrong, delivery, sender))
            self.audit.senders.require(batch, sender)
        except Invalid as invalid:
            self.rejecter.reject([delivery], stated_batch(delivery.body), invalid.faults, owner)
            return
        self._admit_soon(batch, delivery)

    def _admit_soon(self, batch: Batch, delivery: Delivery) -> None:
        self.retry_queue.run(lambda: self._admit(batch, delivery))

    def _also_wrong(self, delivery: Delivery, sender: Sender, document: BatchDocument) -> tuple[Fault, ...]:
        """Return what is wrong with an invalid document beside its fields: its sender does not learn it one by one."""
        images = None if document.images is None else tuple(document.images)
        source_faults = self.audit.senders.faults(sender, as_prefix(document.source), images, document.manifest)
        callback_faults = self.callback_faults(sender.owner, document.callback)
        return (*source_faults, *past_faults(stated_at(document.deadline), self._sent_at(delivery)), *callback_faults)

    def _admit(self, batch: Batch, delivery: Delivery) -> None:
        batch = replace(batch, submission=delivery.message_id)
        current = self.intakes.get(batch.batch_id)
        known = self.state.find(batch.batch_id)
        if known is not None and known.owner != batch.owner:
            self.rejecter.refuse([delivery], batch, (taken.by_another_owner(batch),))
        elif known is not None and known.fingerprint != batch.fingerprint:
            self.rejecter.refuse([delivery], batch, (taken.by_other_content(known),))
        elif current is not None:
            current.deliveries.append(delivery)  # most often the same message, over a new connection
        elif known is not None and known.state == "intake":
            # An earlier attempt committed its insertion, but the answer of the database was lost.
            batch = replace(batch, revision=read_spec(known.spec).revision)
            self._restart(Intake(batch, known.number, [delivery], known.submitted_at))
        elif known is not None and known.state in UNFINISHED and self.runs.get(known.id) is None:
            # The same, for a batch that was inserted and accepted in one transaction.
            self._work_on(Run.of(known, self.clock), [delivery])
        elif known is not None and not self._asks_anew(batch, known, delivery):
            self._answer(known, delivery, already=True)
        elif faults := (
            *self.callback_faults(batch.owner, batch.callback),
            *past_faults(batch.deadline_at, self._sent_at(delivery)),
            *(self._destination_faults(batch) if known is None else ()),
        ):
            self.rejecter.refuse([delivery], batch, faults)
        elif known is not None:
            self._run_anew(batch, known, delivery)
        elif self.eraser.late.free(batch.destination, partial(self._admit_soon, batch, delivery)):
            self._begin(batch, delivery)

    def _destination_faults(self, batch: Batch) -> tuple[Fault, ...]:
        first = self.state.find(self.state.owner_of(batch.destination) or "")
        return () if first is None else (taken.destination(batch, first),)

    def _asks_anew(self, batch: Batch, known: BatchRow, delivery: Delivery) -> bool:
        """Return whether this is a wish to run an ended batch anew, and not the message of its last run again."""
        if batch.again is None or known.state not in TERMINAL or self.runs.get(known.id) or self.eraser.has(known.id):
            return False
        if delivery.message_id is None:
            return not delivery.redelivered
        return read_spec(known.spec).submission != delivery.message_id

    def _run_anew(self, batch: Batch, known: BatchRow, delivery: Delivery) -> None:
        """Forget the last run in the ledger, and begin the next one; its report is kept in the store."""
        batch = replace(batch, revision=read_spec(known.spec).revision + 1)
        intake = Intake(batch, known.number, [delivery], self.clock.now_s())
        self.intakes[batch.batch_id] = intake  # what else is sent meanwhile waits for it

        def begin() -> None:
            self.state.drop_batch(known.number)
            own = self.state.find(batch.batch_id)  # of an earlier attempt whose answer was lost
            new = _new_batch(batch, delivery.body, intake.submitted_at)
            intake.number = self.state.insert_batch(new) if own is None else own.number
            self._read(intake)

        self.reader.remove_images(known.number, begin)

    def _sent_at(self, delivery: Delivery) -> float:
        """Return when a batch was handed in: what it said then holds, however long it waited in the queue."""
        now = self.clock.now_s()
        return now if delivery.sent_at is None else min(float(delivery.sent_at), now)

    def _answer(self, known: BatchRow, delivery: Delivery, *, already: bool = False) -> None:
        self.audit.asked(delivery, "submit", known.id, "the same batch again")
        run = self.runs.get(known.id)
        message_id = delivery.message_id
        if run is None:
            notice = notice_of_row(known, message_id)
            said = {"already_run_at": known.finished_at if already else None}
            self._notify(notice.model_copy(update=said), delivery)
        elif run.announced:
            # After the notice of its end, none may say that it runs.
            run.held.append(partial(self.retry_queue.run, partial(self._answer_ended, run, delivery)))
        else:
            self._notify(notice_of_run(run, message_id, self.deadlines.of(run)), delivery)

    def _answer_new(self, run: Run, delivery: Delivery) -> None:
        """Answer a batch that was accepted just now; it may have ended while its deadline was judged."""
        if self.runs.get(run.id) is run:
            self._notify(notice_of_run(run, delivery.message_id, self.deadlines.of(run)), delivery)
        else:
            self.retry_queue.run(partial(self._answer_ended, run, delivery))

    def _answer_ended(self, run: Run, delivery: Delivery) -> None:
        if (known := self.state.find(run.id)) is not None:
            self._answer(known, delivery)

    def _notify(self, notice: Notice, delivery: Delivery) -> None:
        self.notifier.send(notice, lambda: self.transport.ack([delivery]), event=event_of(notice))

    def _begin(self, batch: Batch, delivery: Delivery) -> None:
        now = self.clock.now_s()
        new = _new_batch(batch, delivery.body, now)
        if (rows := self._few_free(batch)) is not None:
            # No list to read: one transaction records everything.
            self._before_accept()
            number = self.state.insert_batch(new, rows)
            self._after_accept()
            self._work_on(Run.fresh(number, batch, Counts(len(rows)), now, self.clock), [delivery], rows)
            return
        intake = Intake(batch, self.state.insert_batch(new), [delivery], now)
        self.intakes[batch.batch_id] = intake
        self._read(intake)

    def _few_free(self, batch: Batch) -> list[ImageRow] | None:
        """Return all images of a batch that can be accepted at once."""
        rows = few_named(batch, self.stores.source, self.stores.output)
        free = rows is not None and not self.pricer.list_faults(batch, len(rows)) and self.pricer.is_free(batch)
        return rows if free else None

    def _read(self, intake: Intake) -> None:
        self.reader.read(intake, self._price, self._end_rejected)

    def _end_rejected(self, intake: Intake, faults: tuple[Fault, ...]) -> None:
        self.state.drop_batch(intake.number)
        self._end(intake)
        self.rejecter.refuse(intake.deliveries, intake.batch, faults)

    def _price(self, intake: Intake, total: int, rows: Sequence[ImageRow]) -> None:
        self.pricer.price(intake, total, rows, partial(self._on_priced, intake, total, rows))

    def _on_priced(self, intake: Intake, total: int, rows: Sequence[ImageRow], needed: Needed) -> None:
        counts = Counts(total, done=intake.batch.changes.kept, failed=intake.absent)
        amounts = needed.amounts.times(counts.pending / total if total else 0.0)  # of what is run
        faults = needed.faults or self.pricer.day_faults(intake.batch, amounts)
        if faults:
            self.reader.remove_images(intake.number, partial(self._end_rejected, intake, faults))
            return
        self._before_accept()
        charge = self.pricer.charge(intake.batch, amounts)
        self.state.accept_batch(intake.number, counts, rows, spec=write_spec(intake.batch), charge=charge)
        self._after_accept()
        run = Run.fresh(intake.number, intake.batch, counts, intake.submitted_at, self.clock)
        self._end(intake)
        self._work_on(run, intake.deliveries, [row for row in rows if row.state == "pending"])

    def _work_on(self, run: Run, deliveries: Sequence[Delivery], rows: Sequence[ImageRow] = ()) -> None:
        """Start an accepted batch; `rows` are all its pending images, or empty where they must be read."""
        if rows:
            run.read_ahead(rows, all_of_them=True)
        self.runs.add(run)
        log.info("batch accepted", extra={"batch": run.id, "images": run.counts.total})
        for follow in self.on_accepted:
            follow(run)
        for delivery in deliveries:
            self.audit.asked(delivery, "submit", run.id)
            self.deadlines.when_known(run, partial(self._answer_new, run, delivery))
        if run.state == "finishing":
            self.on_complete(run)

    def _end(self, intake: Intake) -> None:
        del self.intakes[intake.batch.batch_id]
        for held in intake.held:
            self.loop.call_later(0, held)


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
        owner=batch.owner,
        keep_days=batch.keep_days,
    )
