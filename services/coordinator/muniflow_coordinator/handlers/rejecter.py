"""Rejects batches: the faults are kept, who listens is told, and the message is given up."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from muniflow.errors import Fault
from muniflow.model.batch import Batch
from muniflow.runtime.clock import Clock
from muniflow.transport.types import Delivery, Transport
from muniflow_coordinator.handlers.audit import AuditTrail
from muniflow_coordinator.handlers.decode import StatedBatch
from muniflow_coordinator.notifier import Notifier, rejection
from muniflow_coordinator.retry_queue import RetryQueue
from muniflow_coordinator.state.failure_types import NewRejection
from muniflow_coordinator.state.types import State

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Rejecter:
    """Records each rejection before anybody hears of it."""

    clock: Clock
    transport: Transport
    state: State
    retry_queue: RetryQueue
    notifier: Notifier
    audit: AuditTrail

    def refuse(self, deliveries: Sequence[Delivery], batch: Batch, faults: tuple[Fault, ...]) -> None:
        """Reject a batch that is valid by itself."""
        self.reject(deliveries, StatedBatch(batch.batch_id, batch.municipality, batch.name), faults, batch.owner)

    def reject(
        self, deliveries: Sequence[Delivery], stated: StatedBatch, faults: tuple[Fault, ...], owner: str
    ) -> None:
        """Record a rejection with all its faults, then tell who listens, then give the messages up."""
        first = faults[0] if faults else ""
        log.warning("batch rejected: %s", first, extra={"batch": stated.batch_id, "faults": len(faults)})
        for delivery in deliveries:
            self.audit.asked(delivery, "submit", stated.batch_id, f"refused: {first}" if faults else "refused")
        for given in deliveries or (None,):  # after a restart its message may be gone
            message_id = None if given is None else given.message_id
            now = self.clock.now_s()
            new = NewRejection(
                stated.batch_id, stated.municipality, message_id, now, faults, owner=owner, name=stated.name
            )
            self.retry_queue.run(partial(self._record, given, new))

    def _record(self, delivery: Delivery | None, new: NewRejection) -> None:
        self.state.keep_rejection(new)
        then = (lambda: None) if delivery is None else partial(self.transport.reject, delivery)
        self.notifier.send(rejection(new), then)
