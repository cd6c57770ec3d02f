"""Publishes notices: what happens to a batch, for any listener."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from muniflow.errors import Fault
from muniflow.model.batch import Batch
from muniflow.model.messages import TERMINAL, Notice
from muniflow.model.topology import ACCEPTED, NOTIFY_EXCHANGE, notice_key
from muniflow.runtime.clock import Clock
from muniflow.runtime.loop import Loop
from muniflow.transport.types import OutgoingMessage, PublishProblem, Transport
from muniflow_coordinator.foresight.deadlines import Feasibility
from muniflow_coordinator.runs.runs import Run
from muniflow_coordinator.runs.spec import read_spec
from muniflow_coordinator.state.failure_types import NewRejection
from muniflow_coordinator.state.types import BatchRow

RETRY_DELAY_S = 1.0
UNKNOWN = Feasibility()


Then = Callable[[], None]


@dataclass(eq=False)
class Notifier:
    """Publishes each notice until the broker has confirmed it; those of one batch one after the other.

    Otherwise one that was published again would come after a later one, and listeners would take a batch that has ended
    for a running one.
    """

    loop: Loop
    clock: Clock
    transport: Transport
    _waiting: dict[str, deque[tuple[OutgoingMessage, Then]]] = field(init=False, default_factory=dict)
    """Notices that are not confirmed, by batch, oldest first."""
    _stopped: bool = field(init=False, default=False)

    def stop(self) -> None:
        """Publish nothing more."""
        self._stopped = True

    def idle(self, batch: str) -> bool:
        """Return whether a notice of a batch would go out at once."""
        return batch not in self._waiting and self.transport.connected

    def send(self, notice: Notice, then: Then = lambda: None, *, event: str | None = None) -> None:
        """Publish `notice` under the key of `event` (its state, if not given), then call `then`."""
        key = notice_key(event or notice.state, notice.owner)
        body = notice.model_copy(update={"at": self.clock.now_s()}).to_bytes()
        waiting = self._waiting.setdefault(notice.batch, deque())
        waiting.append((OutgoingMessage(key, body, NOTIFY_EXCHANGE, mandatory=False), then))
        if len(waiting) == 1:
            self._publish(notice.batch)

    def _publish(self, batch: str) -> None:
        """Publish the oldest notice of a batch."""
        if self._stopped:
            return
        message, then = self._waiting[batch][0]

        def settled(problem: PublishProblem | None) -> None:
            if problem is None:
                self._next(batch)
                then()
            elif not self._stopped:
                self.loop.call_later(RETRY_DELAY_S, lambda: self._publish(batch))

        self.transport.publish((message,), settled)

    def _next(self, batch: str) -> None:
        waiting = self._waiting[batch]
        waiting.popleft()
        if waiting:
            self._publish(batch)
        else:
            del self._waiting[batch]


def event_of(notice: Notice) -> str:
    """Return `accepted` while a batch is not in a terminal state, else that state."""
    return notice.state if notice.state in TERMINAL else ACCEPTED


def notice_of_row(row: BatchRow, message_id: str | None = None) -> Notice:
    """Return the notice of a batch in the database."""
    counts, batch = row.counts, read_spec(row.spec)
    return Notice(
        batch=row.id,
        state=row.state,
        owner=row.owner,
        municipality=row.municipality,
        total=counts.total,
        done=counts.done,
        failed=counts.failed,
        cancelled=counts.cancelled,
        report=row.report,
        **_of_its_document(batch),
        deadline_at=batch.deadline_at,
        message_id=message_id,
    )


def notice_of_run(run: Run, message_id: str | None = None, feasibility: Feasibility = UNKNOWN) -> Notice:
    """Return the notice of a batch in memory."""
    return Notice(
        batch=run.id,
        state=run.state,
        owner=run.batch.owner,
        municipality=run.batch.municipality,
        total=run.counts.total,
        done=run.counts.done,
        failed=run.counts.failed,
        cancelled=run.counts.cancelled,
        **_of_its_document(run.batch),
        **feasibility._asdict(),
        message_id=message_id,
    )


def _of_its_document(batch: Batch) -> dict[str, Any]:
    """Return what it is called, and what is known since its list was read; what is not worth a word is left out."""
    return {
        "name": batch.name or None,
        "skipped": batch.skipped.count or None,
        "skipped_reasons": dict(batch.skipped.reasons) or None,
        "replaced": batch.replaced or None,
        **batch.changes.counts(),
        "revision": batch.revision if batch.revision > 1 else None,
    }


MAX_FAULTS = 100
"""Faults in one notice; a wrong list of images may repeat the same fault many thousand times."""
MAX_CHARS = 500


def rejection(new: NewRejection) -> Notice:
    """Return the notice of a rejected batch."""
    named = [_named(fault) for fault in new.faults[:MAX_FAULTS]]
    if len(new.faults) > MAX_FAULTS:
        named.append({"place": "", "problem": f"and {len(new.faults) - MAX_FAULTS} more faults"})
    return Notice(
        batch=cleaned(new.batch),
        state="rejected",
        owner=new.owner,
        name=cleaned(new.name) or None,
        municipality=cleaned(new.municipality),
        faults=tuple(named),
        message_id=new.message_id,
    )


def _named(fault: Fault) -> dict[str, str]:
    code = {} if fault.reason_code is None else {"reason_code": fault.reason_code}
    return {"place": cleaned(fault.place), "problem": cleaned(fault.problem), **code}


def cleaned(text: object) -> str:
    """Return the text shortened and encodable as UTF-8: a document may contain lone surrogates."""
    return str(text)[:MAX_CHARS].encode("utf-8", "backslashreplace").decode()
