"""The audit trail: one line of the log and one row of the ledger for whatever a person asks of a batch or of keys.

A row has an id made of its message, so a message that comes again makes no second one.
"""

import hashlib
import json
import logging
import secrets
from dataclasses import dataclass

from muniflow.errors import Invalid
from muniflow.model.audit import BY_HEADER, FROM_HEADER, AuditAction, AuditEntry
from muniflow.model.owners import DEFAULT_OWNER, OWNER_HEADER
from muniflow.runtime.clock import Clock
from muniflow.runtime.loop import Loop
from muniflow.transport.types import Delivery, Transport
from muniflow_coordinator.handlers.decode import read_message
from muniflow_coordinator.handlers.senders import Senders
from muniflow_coordinator.metrics import Metrics
from muniflow_coordinator.notifier import cleaned
from muniflow_coordinator.retry_queue import RetryQueue
from muniflow_coordinator.state.types import State

log = logging.getLogger(__name__)
OVER_AMQP = "amqp"


@dataclass(eq=False)
class AuditTrail:
    """Records what batches and commands asked, and handles `muniflow.audit`."""

    loop: Loop
    clock: Clock
    transport: Transport
    state: State
    retry_queue: RetryQueue
    metrics: Metrics
    senders: Senders

    def on_delivery(self, delivery: Delivery) -> None:
        """Record what a gateway tells; nobody else is believed."""
        entry = read_message(AuditEntry, delivery)
        if entry is None or not self._is_gateway(delivery):
            self.metrics.malformed.labels(delivery.queue).inc()
            self.transport.reject(delivery)
            return
        self._say(entry)
        self.retry_queue.run(lambda: self._keep(entry, delivery))

    def asked(self, delivery: Delivery, action: AuditAction, batch: str, detail: str = "") -> None:
        """Record what a message asked, soon: what it asked for goes first."""
        entry = self._entry(delivery, action, batch, detail)
        self._say(entry)
        self.loop.call_later(0, lambda: self.retry_queue.run(lambda: self.state.keep_audit([entry])))

    def sender_of(self, delivery: Delivery, batch: str) -> tuple[str, str]:
        """Return who sent a command and from where, as the trail has it."""
        entry = self._entry(delivery, "delete", batch, "")
        return entry.by, entry.origin

    def _keep(self, entry: AuditEntry, delivery: Delivery) -> None:
        self.state.keep_audit([entry])
        self.transport.ack([delivery])

    def _is_gateway(self, delivery: Delivery) -> bool:
        try:
            return self.senders.of(delivery).checked
        except Invalid:
            return False

    def _entry(self, delivery: Delivery, action: AuditAction, batch: str, detail: str) -> AuditEntry:
        try:
            sender = self.senders.of(delivery)
            owner, told = sender.owner, sender.checked
        except Invalid:
            owner, told = DEFAULT_OWNER, False
        headers = delivery.headers if told else {}
        return AuditEntry(
            id=f"{action}-{_told_once(delivery, batch)}".replace(" ", "-"),
            at=self.clock.now_s(),
            action=action,
            owner=owner,
            by=cleaned(headers.get(BY_HEADER) or delivery.user_id or ""),
            origin=cleaned(headers.get(FROM_HEADER) or OVER_AMQP),
            batch=cleaned(batch),
            detail=cleaned(detail),
        )

    @staticmethod
    def _say(entry: AuditEntry) -> None:
        log.info("audit: %s", entry.action, extra=entry.model_dump(exclude={"v", "id", "action", "at"}))


def _told_once(delivery: Delivery, batch: str) -> str:
    """Return what is the same each time that one message is delivered, and not for another sender or batch."""
    if delivery.message_id is None:
        return secrets.token_hex(16)
    named = json.dumps([delivery.user_id, delivery.headers.get(OWNER_HEADER), delivery.message_id, batch], default=str)
    return hashlib.sha256(named.encode()).hexdigest()[:40]
