"""The life of a coordinator while it leads: recover, consume, drain, halt. All of it happens on one loop."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from muniflow.model.topology import AUDIT, BATCHES, CONTROL, EVENTS, LOST, Topology
from muniflow.runtime.loop import Every
from muniflow.transport.types import Transport
from muniflow_coordinator.api.gauges import live_of
from muniflow_coordinator.api.view import View
from muniflow_coordinator.foresight.forecaster import Forecaster
from muniflow_coordinator.foresight.forecasts import Forecasts
from muniflow_coordinator.foresight.service_times import ServiceTimes
from muniflow_coordinator.handlers.audit import AuditTrail
from muniflow_coordinator.handlers.batches import BatchHandler
from muniflow_coordinator.handlers.commands import CommandHandler
from muniflow_coordinator.handlers.dead_letters import LetterHandler
from muniflow_coordinator.handlers.declarer import Declarer
from muniflow_coordinator.handlers.dispatcher import Dispatcher
from muniflow_coordinator.handlers.events import EventHandler
from muniflow_coordinator.handlers.redispatch import Redispatcher
from muniflow_coordinator.metrics import Live, Metrics
from muniflow_coordinator.recovery import Recovery
from muniflow_coordinator.retry_queue import RetryQueue
from muniflow_coordinator.webhooks.courier import Courier

log = logging.getLogger(__name__)

BATCHES_PREFETCH = 8
CONTROL_PREFETCH = 32
LOST_PREFETCH = 200


class Stoppable(Protocol):
    """A part that goes on by itself, by timers, retries or background work."""

    def stop(self) -> None:
        """Do nothing more."""
        ...


@dataclass(eq=False)
class Coordinator:
    """Turns batches into tasks and records their results. `assembly.assemble` makes it."""

    topology: Topology
    transport: Transport
    retry_queue: RetryQueue
    recovery: Recovery
    batches: BatchHandler
    commands: CommandHandler
    audit: AuditTrail
    events: EventHandler
    letters: LetterHandler
    dispatcher: Dispatcher
    redispatcher: Redispatcher
    declarer: Declarer
    looks: Sequence[Every]
    forecaster: Forecaster
    service_times: ServiceTimes
    forecasts: Forecasts
    courier: Courier
    metrics: Metrics
    view: View
    stoppables: Sequence[Stoppable]
    """All parts that go on by themselves, in the order in which they stop."""
    events_prefetch: int

    def start(self) -> None:
        """Take over the database, continue unfinished batches, then connect; retried while the database is away."""
        self.retry_queue.run(self._start)

    def _start(self) -> None:
        self.forecasts.load()  # first: a batch that recovery finishes has its forecast there
        self.recovery.run()
        self.service_times.load()
        self.redispatcher.start()
        for look in self.looks:
            look.start()
        self.forecaster.start()
        self.courier.start()
        self.transport.start(self.topology, self.dispatcher.pump, self._on_lost)
        self.transport.consume(EVENTS, self.events_prefetch, self.events.on_delivery)
        self.transport.consume(LOST, LOST_PREFETCH, self.events.on_delivery)
        self.letters.consume()
        self.transport.consume(CONTROL, CONTROL_PREFETCH, self.commands.on_delivery)
        self.transport.consume(AUDIT, CONTROL_PREFETCH, self.audit.on_delivery)
        self.transport.consume(BATCHES, BATCHES_PREFETCH, self.batches.on_delivery)

    def stop(self, on_stopped: Callable[[], None]) -> None:
        """Drain: consume nothing more, record and ack all deliveries so far, then close the connection."""
        self.dispatcher.stop()
        for queue in (BATCHES, CONTROL, AUDIT, LOST, EVENTS, *self.letters.queues):
            self.transport.cancel(queue)
        self.events.flush()
        self.letters.flush()
        self.service_times.save()
        self.forecasts.save()
        self.halt()
        self.transport.stop(on_stopped)

    def halt(self) -> None:
        """Stop all background work and retries at once; the next start repeats what is not recorded."""
        for part in self.stoppables:
            part.stop()

    def live(self) -> Live:
        """Return the present gauges. From any thread."""
        return live_of(self.view)

    def why_not_ready(self) -> str | None:
        """Return why it cannot work now, or `None`. From any thread."""
        if self.retry_queue.waiting_for is not None:
            return self.retry_queue.waiting_for
        if self.transport.connected:
            return self.declarer.problem
        return f"not connected to the broker: {self.transport.disconnect_reason}"

    def _on_lost(self, reason: str) -> None:
        log.warning("connection to the broker lost: %s", reason)
        self.metrics.connections_lost.inc()
        self.events.forget()
        self.letters.forget()
