"""The interface of a message transport. Every backend passes `tests/contract/test_transport.py`.

Everything happens on one event loop (`muniflow.runtime.loop.Loop`) in one thread: callbacks are called from it and
must not block. A transport connects by itself, connects again by itself after any trouble, and tells its owner of
both. What was delivered before a lost connection comes back as new deliveries; settling an old one is ignored.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from muniflow.model.topology import EXCHANGE, Topology

MAX_MESSAGE_BYTES = 16 * 2**20
"""RabbitMQ 4 closes the channel of a larger message; muniflow sends none to any version, so that all behave alike."""


@dataclass(frozen=True)
class OutgoingMessage:
    """A message to publish: persistent, mandatory (except to a topic exchange), confirmed."""

    routing_key: str
    body: bytes
    exchange: str = EXCHANGE
    headers: Mapping[str, str | int] = field(default_factory=dict)
    mandatory: bool = True
    """Whether it is a problem when no queue takes it."""
    message_id: str | None = None
    """What an answer will name; left out, the transport makes one."""
    sent_at: int | None = None
    """Unix seconds, for who must judge it by the time when it was sent."""
    user_id: str | None = None
    """Left out, the transport names the user of its connection; RabbitMQ refuses a message that names another one."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that a consumer holds until it settles it."""

    queue: str
    body: bytes
    tag: int
    generation: int
    """The connection that it came over; settling it over a later one is ignored."""
    redelivered: bool = False
    headers: Mapping[str, object] = field(default_factory=dict)
    message_id: str | None = None
    sent_at: int | None = None
    """Unix seconds, by the clock of its sender, where it says so."""
    user_id: str | None = None
    """The user of the broker who published it, where it says so; RabbitMQ has seen to it that this is true."""


@dataclass(frozen=True)
class PublishProblem:
    """Why a group of messages is not known to be safe. Publishing the whole group again is always right."""

    reason: str
    """`returned: no queue for "…"`, `refused by the broker`, `connection lost`, `too large: …`."""


def size_problem(messages: Sequence[OutgoingMessage]) -> PublishProblem | None:
    """The first message that is too large for RabbitMQ 4, as a problem of its group."""
    for message in messages:
        if len(message.body) > MAX_MESSAGE_BYTES:
            return PublishProblem(
                f'too large: a message for "{message.routing_key}" has {len(message.body)} bytes, '
                f"RabbitMQ takes at most {MAX_MESSAGE_BYTES}"
            )
    return None


class Transport(Protocol):
    """One installation's broker, seen from one process."""

    def start(self, topology: Topology, on_ready: Callable[[], None], on_lost: Callable[[str], None]) -> None:
        """Connect, declare `topology`, then call `on_ready`; again after each reconnect, with `on_lost` between.

        `on_lost(reason)` comes once for each lost connection, before any attempt to connect again: all deliveries
        are void then, and each unconfirmed publish has been told `PublishProblem("connection lost")`. A broker that
        answers and refuses `topology` is told so, too, once for each reason; one that does not answer is only logged.
        A topology that is awaited is looked for until it is there; `disconnect_reason` names what is missing.
        """
        ...

    def redeclare(self, on_done: Callable[[str | None], None]) -> None:
        """Declare the topology once more, so that what somebody has deleted is there again.

        `on_done` gets what is wrong, in one line, or `None`; the connection stays as it is. A message that no queue
        takes leads to it by itself.
        """
        ...

    def consume(self, queue: str, prefetch: int, on_delivery: Callable[[Delivery], None]) -> None:
        """Take from `queue`, at most `prefetch` unsettled at a time; called again, it changes the prefetch.

        A change holds for what is delivered after it: what is unsettled already need not count against it. Change it
        seldom: RabbitMQ counts what was just on its way as delivered once more.
        Consumers are set up again after a reconnect, before `on_ready`.
        """
        ...

    def cancel(self, queue: str) -> None:
        """Take no more from `queue`; what was delivered can still be settled."""
        ...

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Settle deliveries; contiguous ones in one frame. Stale ones are ignored."""
        ...

    def requeue(self, deliveries: Sequence[Delivery]) -> None:
        """Hand deliveries back, for any consumer. Stale ones are ignored.

        Before RabbitMQ 4.3 it counts towards the delivery limit of the queue, from 4.3 on it does not; a consumer that
        dies with its deliveries counts on all versions.
        """
        ...

    def reject(self, delivery: Delivery) -> None:
        """Give a delivery to the dead-letter queue of its queue."""
        ...

    def publish(self, messages: Sequence[OutgoingMessage], on_settled: Callable[[PublishProblem | None], None]) -> None:
        """Publish a group together; `on_settled(None)` once every one is confirmed, else the first problem, once."""
        ...

    @property
    def connected(self) -> bool:
        """Whether it is ready now."""
        ...

    @property
    def disconnect_reason(self) -> str | None:
        """Why it is not connected, in one line for a person, or `None`."""
        ...

    @property
    def blocked(self) -> str | None:
        """Why the broker takes no messages now (a memory or disk alarm), or `None`."""
        ...

    def stop(self, on_stopped: Callable[[], None]) -> None:
        """Close; unsettled deliveries go back to their queues."""
        ...
