"""Telling anybody who listens what becomes of a batch."""

import time
from collections.abc import Callable

from muniflow.errors import Fault
from muniflow.model.messages import TERMINAL, Notice
from muniflow.model.topology import NOTIFY_EXCHANGE
from muniflow.runtime.loop import Loop
from muniflow.transport.types import OutgoingMessage, PublishProblem, Transport
from muniflow_coordinator.runs.runs import Run
from muniflow_coordinator.state.types import BatchRow

RETRY_DELAY_S = 1.0


class Notifier:
    """Publishes notices until the broker has confirmed them."""

    def __init__(self, loop: Loop, transport: Transport) -> None:
        """Publish over `transport`."""
        self._loop = loop
        self._transport = transport
        self._stopped = False

    def stop(self) -> None:
        """Publish nothing again."""
        self._stopped = True

    def send(self, notice: Notice, then: Callable[[], None] = lambda: None, *, event: str | None = None) -> None:
        """Publish `notice` as `batch.<event>` (its state, if not given), then call `then`."""
        key = f"batch.{event or notice.state}"
        message = OutgoingMessage(key, notice.to_bytes(), NOTIFY_EXCHANGE, mandatory=False)

        def settled(problem: PublishProblem | None) -> None:
            if problem is None:
                then()
            elif not self._stopped:
                self._loop.call_later(RETRY_DELAY_S, publish)

        def publish() -> None:
            if not self._stopped:
                self._transport.publish((message,), settled)

        publish()


def event_of(notice: Notice) -> str:
    """`accepted` while a batch is not in a terminal state, else that state."""
    return notice.state if notice.state in TERMINAL else "accepted"


def notice_of_row(row: BatchRow, message_id: str | None = None) -> Notice:
    """The notice of a batch as it is kept."""
    counts = row.counts
    return Notice(
        batch=row.id,
        state=row.state,
        municipality=row.municipality,
        total=counts.total,
        done=counts.done,
        failed=counts.failed,
        cancelled=counts.cancelled,
        report=row.report,
        message_id=message_id,
        at=time.time(),
    )


def notice_of_run(run: Run, message_id: str | None = None) -> Notice:
    """The notice of a batch that is being worked on."""
    return Notice(
        batch=run.id,
        state=run.state,
        municipality=run.batch.municipality,
        total=run.counts.total,
        done=run.counts.done,
        failed=run.counts.failed,
        cancelled=run.counts.cancelled,
        message_id=message_id,
        at=time.time(),
    )


MAX_FAULTS = 100
"""Faults named in one notice; a wrong list of images would repeat the same one many thousand times."""
MAX_CHARS = 500


def rejection(batch_id: str, faults: tuple[Fault, ...], message_id: str | None) -> Notice:
    """The notice of a batch that is refused."""
    named = [{"place": _clean(fault.place), "problem": _clean(fault.problem)} for fault in faults[:MAX_FAULTS]]
    if len(faults) > MAX_FAULTS:
        named.append({"place": "", "problem": f"and {len(faults) - MAX_FAULTS} more faults"})
    return Notice(
        batch=_clean(batch_id),
        state="rejected",
        faults=tuple(named),
        message_id=message_id,
        at=time.time(),
    )


def _clean(text: str) -> str:
    """Bounded, and in characters that can travel: a document may name fields in halves of characters."""
    return text[:MAX_CHARS].encode("utf-8", "backslashreplace").decode()
