"""A broker in memory, for tests and for engines that need no other: it keeps the promises of RabbitMQ's quorum queues.

All of it runs on one loop in one thread. `drop_connections`, `block` and `unblock` make the trouble that a real broker
makes. Nothing survives the process.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from muniflow.model.topology import Topology
from muniflow.runtime.clock import SYSTEM_CLOCK, Clock
from muniflow.runtime.loop import Loop
from muniflow.testing.memory_queues import Exchanges, QueuedMessage, QueueState, copies_of
from muniflow.transport.confirms import LOST
from muniflow.transport.types import Delivery, OutgoingMessage, PublishProblem, size_problem

RECONNECT_S = 0.02


class MemoryBroker:
    """The broker: `broker.transport("worker")` is a `Transport` to it."""

    def __init__(self, loop: Loop, *, delay_scale: float = 1.0, clock: Clock = SYSTEM_CLOCK) -> None:
        """Make an empty broker.

        Args:
            loop: the loop of all its transports.
            delay_scale: factor on every time that a message lives in a delay queue; 0.001 makes 5 s into 5 ms.
            clock: the time that dead letters carry.
        """
        self._loop = loop
        self._exchanges = Exchanges(self._later, delay_scale, clock)
        self._transports: list[MemoryTransport] = []
        self._blocked: str | None = None
        self._held: list[Callable[[], None]] = []
        self._pumping, self._turn = False, 0

    @property
    def blocked(self) -> str | None:
        """Why it takes no messages, or `None`."""
        return self._blocked

    def transport(self, name: str, user: str | None = None) -> "MemoryTransport":
        """A new connection to this broker as a user of it; `name` is for people."""
        transport = MemoryTransport(self, self._loop, name, user)
        self._transports.append(transport)
        return transport

    def depths(self) -> dict[str, int]:
        """Messages that are ready, by queue."""
        return {name: len(queue.ready) for name, queue in self._exchanges.queues.items()}

    def drop_connections(self, reason: str) -> None:
        """Cut every connection, as a broker that restarts does. The transports connect again by themselves."""
        for transport in list(self._transports):
            transport.drop(reason)

    def block(self, reason: str) -> None:
        """Take no more messages, as RabbitMQ with a memory or disk alarm; publishes wait."""
        self._blocked = reason

    def unblock(self) -> None:
        """Take messages again, first those that waited."""
        self._blocked = None
        held, self._held = self._held, []
        for publish in held:
            publish()

    def declare(self, topology: Topology) -> str | None:
        """Declare; returns what is wrong, or `None`."""
        return self._exchanges.declare(topology)

    def delete(self, name: str) -> None:
        """Delete an exchange or a queue, as an administrator may; whoever consumes from it is cut off."""
        for transport in [other for other in self._transports if other.consumes(name)]:
            transport.drop(f"the broker cancelled the consumer of {name!r}: its queue was deleted or moved")
        self._exchanges.delete(name)

    def take(self, messages: Sequence[QueuedMessage], done: Callable[[PublishProblem | None], None]) -> None:
        """Route a group; `done` comes later from the loop, or after `unblock`."""
        if self._blocked is not None:
            self._held.append(partial(self.take, messages, done))
            return
        problem = None
        for message in messages:
            taken = self._exchanges.route(message)
            if not taken and message.mandatory:
                problem = problem or PublishProblem(f'returned: no queue for "{message.routing_key}"')
        self._loop.add_callback_threadsafe(partial(done, problem))
        self.pump()

    def queue(self, name: str) -> QueueState | None:
        """A queue by its name."""
        return self._exchanges.queues.get(name)

    def give_back(self, queue: str, messages: Sequence[QueuedMessage]) -> None:
        """Messages that were delivered and not settled go back to their places."""
        self._exchanges.give_back(queue, messages)
        self.pump()

    def dead_letter(self, queue: str, message: QueuedMessage) -> None:
        """A consumer gave up on a message."""
        self._exchanges.dead_letter(queue, message, "rejected")
        self.pump()

    def forget(self, transport: "MemoryTransport") -> None:
        """A transport has stopped."""
        if transport in self._transports:
            self._transports.remove(transport)

    def pump(self) -> None:
        """Deliver soon, from the loop."""
        if not self._pumping:
            self._pumping = True
            self._loop.add_callback_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._pumping = False
        for name, queue in self._exchanges.queues.items():
            while queue.ready and (takers := [other for other in self._transports if other.wants(name)]):
                self._turn += 1  # consumers of one queue take turns
                takers[self._turn % len(takers)].deliver(name, queue.ready.popleft())

    def _later(self, delay_s: float, callback: Callable[[], None]) -> None:
        def expire() -> None:
            callback()
            self.pump()

        self._loop.call_later(delay_s, expire)


@dataclass
class _Consumer:
    prefetch: int | None
    on_delivery: Callable[[Delivery], None]
    unsettled: dict[int, QueuedMessage]


class MemoryTransport:
    """A `Transport` to a `MemoryBroker`."""

    def __init__(self, broker: MemoryBroker, loop: Loop, name: str, user: str | None = None) -> None:
        self.name = name
        self._user = user
        self._broker = broker
        self._loop = loop
        self._consumers: dict[str, _Consumer] = {}
        self._topology = Topology((), ())
        self._on_ready: Callable[[], None] = lambda: None
        self._on_lost: Callable[[str], None] = lambda _reason: None
        self._in_flight: dict[int, Callable[[PublishProblem | None], None]] = {}
        self._timer: Any = None
        self._connected = False
        self._generation = 0
        self._last = 0
        self._disconnect_reason: str | None = "not started"

    @property
    def connected(self) -> bool:
        """Whether it is ready now."""
        return self._connected

    @property
    def blocked(self) -> str | None:
        """Why the broker takes no messages now, or `None`."""
        return self._broker.blocked if self._connected else None

    @property
    def disconnect_reason(self) -> str | None:
        """Why it is not connected, in one line for a person, or `None`."""
        return self._disconnect_reason

    def start(self, topology: Topology, on_ready: Callable[[], None], on_lost: Callable[[str], None]) -> None:
        """Connect; see `Transport.start`."""
        self._topology = topology
        self._on_ready = on_ready
        self._on_lost = on_lost
        self._timer = self._loop.call_later(0, self._connect)

    def consume(self, queue: str, prefetch: int, on_delivery: Callable[[Delivery], None]) -> None:
        """Take from `queue`; called again, it changes the prefetch."""
        before = self._consumers.get(queue)
        self._consumers[queue] = _Consumer(prefetch, on_delivery, before.unsettled if before else {})
        if self._connected and self._broker.queue(queue) is None:
            self.drop(f"no queue {queue!r}")
        self._broker.pump()

    def cancel(self, queue: str) -> None:
        """Take no more from `queue`; what was delivered can still be settled."""
        if consumer := self._consumers.get(queue):
            consumer.prefetch = None

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Settle deliveries."""
        for delivery in deliveries:
            self._take(delivery)
        self._broker.pump()

    def requeue(self, deliveries: Sequence[Delivery]) -> None:
        """Hand deliveries back, for any consumer."""
        for delivery in sorted(deliveries, key=lambda delivery: -delivery.tag):
            if message := self._take(delivery):
                self._broker.give_back(delivery.queue, [message])

    def reject(self, delivery: Delivery) -> None:
        """Give a delivery to the dead-letter queue of its queue."""
        if message := self._take(delivery):
            self._broker.dead_letter(delivery.queue, message)

    def publish(self, messages: Sequence[OutgoingMessage], on_settled: Callable[[PublishProblem | None], None]) -> None:
        """Publish a group together; `on_settled` comes later from the loop, once."""
        problem = size_problem(messages)
        if not self._connected or not messages or problem is not None:
            problem = problem or (PublishProblem(LOST) if messages else None)
            self._loop.add_callback_threadsafe(lambda: on_settled(problem))
            return
        self._last += 1
        number = self._last
        self._in_flight[number] = on_settled
        copies = copies_of(messages, f"{self.name}.{number}", self._user)
        self._broker.take(copies, lambda problem: self._settled(number, problem))

    def redeclare(self, on_done: Callable[[str | None], None]) -> None:
        """Declare the topology once more; see `Transport.redeclare`."""
        problem = self._broker.declare(self._topology) if self._connected else LOST
        self._loop.add_callback_threadsafe(lambda: on_done(problem))

    def stop(self, on_stopped: Callable[[], None]) -> None:
        """Close; unsettled deliveries go back to their queues."""
        if self._timer is not None:
            self._loop.remove_timeout(self._timer)
        self._disconnect_reason = "stopped"
        self._disconnect()
        self._consumers.clear()
        self._broker.forget(self)
        self._loop.add_callback_threadsafe(on_stopped)

    def drop(self, reason: str) -> None:
        """Lose the connection, if there is one."""
        if self._connected:
            self._disconnect_reason = reason
            self._disconnect()
            self._timer = self._loop.call_later(RECONNECT_S, self._connect)
            self._on_lost(reason)

    def wants(self, queue: str) -> bool:
        """Whether it takes one more message of `queue` now."""
        return self.consumes(queue) and len(self._consumers[queue].unsettled) < (self._consumers[queue].prefetch or 0)

    def consumes(self, queue: str) -> bool:
        """Whether it consumes from a queue."""
        consumer = self._consumers.get(queue)
        return self._connected and consumer is not None and consumer.prefetch is not None

    def deliver(self, queue: str, message: QueuedMessage) -> None:
        """Give a message to the consumer of `queue`."""
        consumer = self._consumers[queue]
        self._last += 1
        consumer.unsettled[self._last] = message
        redelivered = message.delivery_count > 0
        seen = {**message.headers, **({"x-delivery-count": message.delivery_count} if redelivered else {})}
        place, about = (queue, message.body, self._last, self._generation), (message.message_id, message.sent_at)
        consumer.on_delivery(Delivery(*place, redelivered, seen, *about, message.user_id))

    def _take(self, delivery: Delivery) -> QueuedMessage | None:
        consumer = self._consumers.get(delivery.queue)
        if consumer is None or delivery.generation != self._generation:
            return None
        return consumer.unsettled.pop(delivery.tag, None)

    def _connect(self) -> None:
        self._timer = None
        if problem := self._broker.declare(self._topology):
            told, self._disconnect_reason = problem == self._disconnect_reason, problem
            if not (told or self._topology.awaited):
                self._on_lost(problem)
            self._timer = self._loop.call_later(RECONNECT_S, self._connect)
            return
        self._generation += 1
        self._connected, self._disconnect_reason = True, None
        self._on_ready()
        self._broker.pump()

    def _disconnect(self) -> None:
        self._connected = False
        in_flight, self._in_flight = self._in_flight, {}
        for on_settled in in_flight.values():
            on_settled(PublishProblem(LOST))
        for queue, consumer in self._consumers.items():
            unsettled = [consumer.unsettled[tag] for tag in sorted(consumer.unsettled, reverse=True)]
            consumer.unsettled.clear()
            self._broker.give_back(queue, unsettled)

    def _settled(self, number: int, problem: PublishProblem | None) -> None:
        if on_settled := self._in_flight.pop(number, None):  # else it was told that the connection is lost
            on_settled(problem)
        if problem is not None and self._connected:
            self._broker.declare(self._topology)  # somebody may have deleted its queue
