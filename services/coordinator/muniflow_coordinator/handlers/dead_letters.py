"""Takes dead letters into the ledger, so that the dead-letter queues stay short.

The ledger knows every failed image by its events, so of the letter of a task nothing more is kept. What is no task, a
task of a batch that the ledger does not know, or one that somebody else made up, is kept with its body: people look at
it, replay it or drop it.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from muniflow.model.allowed import Foreign
from muniflow.model.settlement import shorten
from muniflow.model.topology import Topology, exchange_to, origin_of
from muniflow.runtime.clock import Clock
from muniflow.runtime.loop import Loop
from muniflow.transport.types import Delivery, OutgoingMessage, PublishProblem, Transport
from muniflow_coordinator.handlers.decode import Lost
from muniflow_coordinator.handlers.list_reader import Intakes
from muniflow_coordinator.handlers.senders import Senders
from muniflow_coordinator.retry_queue import RetryQueue
from muniflow_coordinator.runs.runs import Runs
from muniflow_coordinator.state.failure_types import LetterLimits, NewLetter
from muniflow_coordinator.state.types import State

log = logging.getLogger(__name__)
PREFETCH = 200
"""Unacked letters of each dead-letter queue; letters that come together are recorded in one transaction."""
LINGER_S = 0.1
LETTER_LIMITS = LetterLimits()
TRIM_BYTES, EACH_BYTES = 8 << 20, 1 << 10
"""Of new letters, their rows counted with them, between two looks at the limits."""
RETRY_DELAY_S = 1.0


@dataclass(eq=False)
class LetterHandler:
    """Handles all dead-letter queues."""

    loop: Loop
    clock: Clock
    transport: Transport
    state: State
    retry_queue: RetryQueue
    runs: Runs
    intakes: Intakes
    topology: Topology
    senders: Senders
    _part: list[Delivery] = field(init=False, default_factory=list)
    _timer: Any = field(init=False, default=None)
    _new_bytes: int = field(init=False, default=0)
    _stopped: bool = field(init=False, default=False)

    @property
    def queues(self) -> list[str]:
        """Return the names of all dead-letter queues."""
        return [queue.name for queue in self.topology.queues if origin_of(queue.name) is not None]

    def consume(self) -> None:
        """Take from all dead-letter queues."""
        for queue in self.queues:
            self.transport.consume(queue, PREFETCH, self.on_delivery)

    def on_delivery(self, delivery: Delivery) -> None:
        """Record a letter, together with those that come soon after it."""
        self._part.append(delivery)
        if len(self._part) >= PREFETCH:
            self.flush()
        elif self._timer is None:
            self._timer = self.loop.call_later(LINGER_S, self.flush)

    def forget(self) -> None:
        """Drop what is not recorded: the broker delivers it again over the next connection."""
        self._part = []

    def flush(self) -> None:
        """Record all letters so far, then ack them."""
        if self._timer is not None:
            self.loop.remove_timeout(self._timer)
            self._timer = None
        part, self._part = self._part, []
        if part:
            self.retry_queue.run(lambda: self._record(part))

    def stop(self) -> None:
        """Publish nothing more."""
        self._stopped = True
        self.forget()

    def replay(self, number: int, then: Callable[[], None]) -> None:
        """Publish a letter to the queue that it was meant for, and delete it. In the retry queue."""
        letter = self.state.letter(number)
        origin = None if letter is None else origin_of(letter.queue)
        if letter is None or origin is None:
            then()
            return

        def settled(problem: PublishProblem | None) -> None:
            if problem is None:
                self.retry_queue.run(lambda: self.drop(number, then))
            elif not self._stopped:
                self.loop.call_later(RETRY_DELAY_S, publish)

        def publish() -> None:
            self.transport.publish((OutgoingMessage(origin, letter.body, exchange_to(origin)),), settled)

        publish()

    def drop(self, number: int, then: Callable[[], None]) -> None:
        """Delete a letter. In the retry queue."""
        self.state.drop_letter(number)
        then()

    def _record(self, part: list[Delivery]) -> None:
        known: dict[str, bool] = {}
        kept = []
        for delivery in part:
            batch = _batch_of(delivery)
            if batch is not None and batch not in known:
                known[batch] = self._knows(batch)
            if batch is None or not known[batch] or delivery.headers.get("reason_code") == Foreign.reason_code:
                kept.append(_letter(delivery, batch, self.clock.now_s()))
        self.state.keep_letters(kept)
        self._trim(kept)
        self.transport.ack(part)

    def _trim(self, kept: Sequence[NewLetter]) -> None:
        """Hold the limits, now and then: to look for what is beyond them takes as long as many letters do."""
        self._new_bytes += sum(len(letter.body) + EACH_BYTES for letter in kept)
        if self._new_bytes < TRIM_BYTES:
            return
        self._new_bytes = 0
        if dropped := self.state.trim_letters(LETTER_LIMITS):
            log.warning("more letters than are kept: the oldest are dropped", extra={"dropped": dropped})

    def _knows(self, batch: str) -> bool:
        return batch in self.intakes or self.runs.get(batch) is not None or self.state.find(batch) is not None


def _batch_of(delivery: Delivery) -> str | None:
    """Return the batch of a task, of any version; `None` if it is no task."""
    try:
        return Lost.model_validate_json(delivery.body).batch
    except ValidationError:
        return None


def _letter(delivery: Delivery, batch: str | None, now: float) -> NewLetter:
    headers = delivery.headers
    failed_at = headers.get("failed_at")
    at = float(failed_at) if isinstance(failed_at, int | float) else now
    reason = str(headers.get("reason") or _broker_reason(headers))
    return NewLetter(_digest(delivery), delivery.queue, batch, shorten(reason), at, delivery.body)


def _digest(delivery: Delivery) -> str:
    """Return what is the same each time that one message is delivered, and for no other one."""
    death = str(delivery.headers.get("x-death", "")), str(delivery.headers.get("failed_at", ""))
    named = json.dumps([delivery.queue, delivery.message_id, *death]).encode()
    return hashlib.sha256(named + b"\0" + delivery.body).hexdigest()


def _broker_reason(headers: Mapping[str, object]) -> str:
    cause = headers.get("x-first-death-reason")
    return f"given up by its consumer or the broker: {cause}" if cause else "unknown"
