"""The transport over RabbitMQ."""

import logging
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from pika import URLParameters

from muniflow.errors import Invalid
from muniflow.model.topology import Topology
from muniflow.runtime.loop import Loop
from muniflow.runtime.settings import BrokerSettings
from muniflow.transport.confirms import LOST
from muniflow.transport.connection import CLOSE_TIMEOUT_S, nodes_of, pause_s, place_of, user_at
from muniflow.transport.link import Link, LinkEvents, WantedQueue
from muniflow.transport.publisher import OnSettled
from muniflow.transport.subscription import Subscription
from muniflow.transport.types import Delivery, OutgoingMessage, PublishProblem, size_problem

STABLE_S = 10.0
"""A connection that was ready this long counts as working: after a later failure the pauses start short again."""

logger = logging.getLogger(__name__)


class RabbitTransport:
    """A `Transport` over RabbitMQ 3.10 to 4.x. It connects again by itself, for as long as it is not stopped.

    Where the URL names several nodes, each attempt is for the next of them.
    """

    def __init__(self, settings: BrokerSettings, loop: Loop, name: str) -> None:
        """Prepare; `start` connects.

        Args:
            settings: where the broker is, and the times to wait for it.
            loop: the process's event loop.
            name: what RabbitMQ shows for the connections.

        Raises:
            Invalid: the URL of the broker is not one.
        """
        self._settings = settings
        self._loop = loop
        self._name = name
        self._seed = random.getrandbits(32)
        self._read_settings()
        self._wanted: dict[str, WantedQueue] = {}
        self._topology = Topology((), ())
        self._on_ready: Callable[[], None] = _nothing
        self._on_lost: Callable[[str], None] = lambda _reason: None
        self._on_stopped: Callable[[], None] | None = None
        self._link: Link | None = None
        self._living: set[Link] = set()
        self._generation = 0
        self._attempt = 0
        self._ready_at_s: float | None = None
        self._timer: Any = None
        self._disconnect_reason: str | None = "not started"
        self._told: set[str] = set()
        """Reasons since it was ready last: with several nodes they alternate."""

    @property
    def connected(self) -> bool:
        """Whether it is ready now."""
        return self._link is not None and self._link.ready

    @property
    def blocked(self) -> str | None:
        """Why the broker takes no messages now, or `None`. RabbitMQ says so at the first publish that it holds."""
        return None if self._link is None else self._link.blocked

    @property
    def disconnect_reason(self) -> str | None:
        """Why it is not connected, in one line for a person, or `None`."""
        return None if self.connected else self._disconnect_reason

    def start(self, topology: Topology, on_ready: Callable[[], None], on_lost: Callable[[str], None]) -> None:
        """Connect, declare `topology`, then call `on_ready`; see `Transport.start`."""
        self._topology = topology
        self._on_ready = on_ready
        self._on_lost = on_lost
        self._disconnect_reason = "connecting"
        self._connect()

    def consume(self, queue: str, prefetch: int, on_delivery: Callable[[Delivery], None]) -> None:
        """Take from `queue`; called again, it changes the prefetch. See `Transport.consume`."""
        self._wanted[queue] = WantedQueue(prefetch, on_delivery)
        if self._link is not None:
            self._link.want(queue)

    def cancel(self, queue: str) -> None:
        """Take no more from `queue`; what was delivered can still be settled."""
        if wanted := self._wanted.get(queue):
            wanted.prefetch = None
            if self._link is not None:
                self._link.want(queue)

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Settle deliveries; the oldest contiguous ones in one frame."""
        self._settle(deliveries, Subscription.ack)

    def requeue(self, deliveries: Sequence[Delivery]) -> None:
        """Hand deliveries back, for any consumer."""
        self._settle(deliveries, Subscription.requeue)

    def reject(self, delivery: Delivery) -> None:
        """Give a delivery to the dead-letter queue of its queue."""
        self._settle([delivery], Subscription.reject)

    def publish(self, messages: Sequence[OutgoingMessage], on_settled: OnSettled) -> None:
        """Publish a group together; `on_settled` comes later from the loop, once."""
        problem = size_problem(messages)  # RabbitMQ would close the channel, which other messages use
        if self._link is not None and self._link.ready and messages and problem is None:
            self._link.publish(messages, on_settled)
        else:
            problem = problem or (PublishProblem(LOST) if messages else None)
            self._loop.add_callback_threadsafe(lambda: on_settled(problem))

    def redeclare(self, on_done: Callable[[str | None], None]) -> None:
        """Declare the topology once more; see `Transport.redeclare`."""
        if self._link is not None and self._link.ready:
            self._link.redeclare(on_done)
        else:
            self._loop.add_callback_threadsafe(lambda: on_done(LOST))

    def stop(self, on_stopped: Callable[[], None]) -> None:
        """Close; unsettled deliveries go back to their queues. Takes at most `CLOSE_TIMEOUT_S` and a second."""
        self._on_stopped = on_stopped
        self._disconnect_reason = "stopped"
        if self._timer is not None:
            self._loop.remove_timeout(self._timer)
            self._timer = None
        link, self._link = self._link, None
        if link is not None:
            link.close()
        if self._living:
            self._timer = self._loop.call_later(CLOSE_TIMEOUT_S + 1, self._stopped)
        else:
            self._loop.add_callback_threadsafe(self._stopped)

    def _settle(
        self, deliveries: Sequence[Delivery], settle: Callable[[Subscription, Sequence[Delivery]], None]
    ) -> None:
        """Settle the deliveries of the current connection, by queue; older ones have come back already."""
        if self._link is None:
            return
        by_queue: dict[str, list[Delivery]] = {}
        for delivery in deliveries:
            if delivery.generation == self._link.generation:
                by_queue.setdefault(delivery.queue, []).append(delivery)
        for queue, group in by_queue.items():
            self._link.settle(queue, group, settle)

    @property
    def _node(self) -> URLParameters:
        return self._nodes[self._generation % len(self._nodes)]

    def _read_settings(self) -> None:
        self._nodes = nodes_of(self._settings, self._name, self._seed)
        self._user = user_at(self._nodes[0], self._settings)

    def _connect(self) -> None:
        self._timer = None
        self._attempt += 1
        self._generation += 1
        # The first time, too: a coordinator that stands by was made long ago, and its password may be another one now.
        with suppress(Invalid):  # a file that is being replaced: as before, and the next attempt looks again
            self._read_settings()
        events = LinkEvents(self._ready, self._waiting, self._lost, self._ended)
        self._link = Link(
            self._loop,
            parameters=self._node,
            user=self._user,
            generation=self._generation,
            topology=self._topology,
            new_queue_wait_s=self._settings.new_queue_wait_s,
            wanted=self._wanted,
            events=events,
        )
        self._living.add(self._link)

    def _ready(self) -> None:
        self._ready_at_s = time.monotonic()
        self._disconnect_reason = None
        self._told.clear()
        logger.info("connected to RabbitMQ at %s", place_of(self._node))
        self._on_ready()

    def _waiting(self, what: str) -> None:
        if what != self._disconnect_reason:
            self._disconnect_reason = what
            logger.info("%s", what)

    def _lost(self, reason: str, was_open: bool) -> None:
        self._link = None
        told = reason in self._told
        self._told.add(reason)
        self._disconnect_reason = reason
        if self._ready_at_s is not None and time.monotonic() - self._ready_at_s > STABLE_S:
            self._attempt = 0
        self._ready_at_s = None
        pause = pause_s(max(self._attempt, 1), self._settings.reconnect_max_s, nodes=len(self._nodes))
        self._timer = self._loop.call_later(pause, self._connect)
        if not told:  # one line for each new reason, not one for each attempt
            logger.warning("%s; retrying until it works", reason)
            if was_open:
                self._on_lost(reason)

    def _ended(self, link: Link) -> None:
        self._living.discard(link)
        if self._on_stopped is not None and not self._living:
            self._stopped()

    def _stopped(self) -> None:
        if self._timer is not None:
            self._loop.remove_timeout(self._timer)
            self._timer = None
        if self._on_stopped is not None:
            on_stopped, self._on_stopped = self._on_stopped, None
            on_stopped()


def _nothing() -> None:
    """Do nothing."""
