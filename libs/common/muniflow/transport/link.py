"""One generation of a transport: a connection to consume and one to publish, which live and end together."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from pika import URLParameters
from pika.exceptions import AMQPHeartbeatTimeout
from pika.frame import Method

from muniflow.model.topology import Instead, Topology
from muniflow.runtime.loop import Loop
from muniflow.transport.connection import GroupedConnection, describe, shut
from muniflow.transport.declare import Declaring, OnTried, Waiting
from muniflow.transport.publisher import OnSettled, Publisher
from muniflow.transport.silence import SilenceWatch
from muniflow.transport.subscription import Subscription
from muniflow.transport.types import Delivery, OutgoingMessage

SETUP_TIMEOUT_S = 60.0
"""From connected to ready: making quorum queues on a busy cluster takes a while."""

logger = logging.getLogger(__name__)


@dataclass
class WantedQueue:
    """What the owner wants from a queue."""

    prefetch: int | None
    """Unsettled deliveries at a time; `None` after a cancel."""
    on_delivery: Callable[[Delivery], None]


@dataclass(frozen=True)
class LinkEvents:
    """Callbacks of a link. `down` is called at most once, and only `ended` after it."""

    ready: Callable[[], None]
    waiting: Callable[[str], None]
    """For what somebody else declares, with a line for a person."""
    down: Callable[[str, bool], None]
    """With the reason, and whether both connections had been open."""
    ended: Callable[["Link"], None]
    """Both sockets are closed."""


class Link:
    """Connects, declares the topology, subscribes, and reports that it is ready or down."""

    def __init__(
        self,
        loop: Loop,
        *,
        parameters: URLParameters,
        user: str | None,
        generation: int,
        topology: Topology,
        new_queue_wait_s: float,
        wanted: Mapping[str, WantedQueue],
        events: LinkEvents,
    ) -> None:
        """Begin to connect; messages name `user` as their sender.

        `wanted` is read when the topology is there, and at each delivery.
        """
        self.generation = generation
        self.ready = False
        self.blocked: str | None = None
        self._loop = loop
        self._parameters = parameters
        self._topology = topology
        self._new_queue_wait_s = new_queue_wait_s
        self._wanted = wanted
        self._events = events
        self._subscriptions: dict[str, Subscription] | None = None
        self._early: list[Delivery] = []
        self._open_count = 0
        self._ended_count = 0
        self._down = False
        self._setup_timer: Any = None
        self._waiting: Waiting | None = None
        self._instead: Instead | None = None
        self._declaring = False
        self._consuming = self._connect()
        self._publishing = self._connect()
        self._publisher = Publisher(
            self._publishing, user, call=self._call, on_returned=lambda: self.redeclare(_nothing)
        )
        both = (self._consuming, self._publishing)
        self._silence = SilenceWatch(loop, both, lambda: self.fail(AMQPHeartbeatTimeout()))
        self._publishing.add_on_connection_blocked_callback(self._on_blocked)
        self._publishing.add_on_connection_unblocked_callback(self._on_unblocked)

    def want(self, queue: str) -> None:
        """`wanted[queue]` has changed."""
        if self._subscriptions is None or self._down:
            return
        prefetch = self._wanted[queue].prefetch
        if not self._has(queue):
            return
        if subscription := self._subscriptions.get(queue):
            subscription.want(prefetch)
        else:
            self._subscribe(queue, prefetch)

    def settle(
        self,
        queue: str,
        deliveries: Sequence[Delivery],
        settle: Callable[[Subscription, Sequence[Delivery]], None],
    ) -> None:
        """Settle deliveries of `queue`, in one write."""
        if self._subscriptions is not None and (subscription := self._subscriptions.get(queue)) and not self._down:
            with self._consuming.one_write():
                settle(subscription, deliveries)

    def publish(self, messages: Sequence[OutgoingMessage], on_settled: OnSettled) -> None:
        """Publish a group in one write; only while `ready`. See `Publisher.publish`."""
        self._publisher.publish(messages, on_settled)

    def redeclare(self, on_done: Callable[[str | None], None]) -> None:
        """Declare the topology once more, on a channel whose end harms nothing else; see `Transport.redeclare`."""
        if self._declaring or self._down or self._topology.awaited:
            on_done(None)  # it is being done, or is not ours
            return
        self._declaring = True

        def tried(problem: BaseException | None) -> None:
            self._declaring = False
            on_done(None if problem is None else describe(problem, self._parameters))

        self._declare(tried)

    def fail(self, reason: str | BaseException) -> None:
        """End both connections and tell the owner, once."""
        if self._down:
            return
        was_open = self._open_count == len((self._consuming, self._publishing))
        self.close()
        self._events.down(reason if isinstance(reason, str) else describe(reason, self._parameters), was_open)

    def close(self) -> None:
        """End both connections; publishes without an answer are told so."""
        if self._down:
            return
        self._down = True
        self.ready = False
        self.blocked = None
        self._silence.stop()
        if self._waiting is not None:
            self._waiting.stop()
        self._await_setup(on=False)
        for connection in (self._consuming, self._publishing):
            shut(connection, self._loop)
        self._publisher.lost()

    def _connect(self) -> GroupedConnection:
        return GroupedConnection(
            self._parameters,
            on_open_callback=self._on_open,
            on_open_error_callback=self._on_ended,
            on_close_callback=self._on_ended,
            custom_ioloop=cast("Any", self._loop),
        )

    def _on_open(self, connection: GroupedConnection) -> None:
        self._open_count += 1
        if self._down:
            shut(connection, self._loop)
        elif self._open_count == 2:  # noqa: PLR2004 - one to consume, one to publish
            self._silence.start()
            self._await_setup()
            self._publisher.open(self._set_up, self.fail)

    def _on_ended(self, _connection: object, error: BaseException) -> None:
        self._ended_count += 1
        self.fail(error)
        if self._ended_count == 2:  # noqa: PLR2004 - one to consume, one to publish
            self._events.ended(self)

    def _await_setup(self, *, on: bool = True) -> None:
        """Limit the time until the broker has answered; `on` or no more."""
        if self._setup_timer is not None:
            self._loop.remove_timeout(self._setup_timer)
        reason = f"RabbitMQ took longer than {SETUP_TIMEOUT_S:.0f} s to make the queues"
        self._setup_timer = self._loop.call_later(SETUP_TIMEOUT_S, lambda: self.fail(reason)) if on else None

    def _set_up(self) -> None:
        if self._down:
            return
        if self._topology.awaited:
            self._waiting = Waiting(
                self._loop,
                self._consuming,
                self._topology,
                on_there=self._on_there,
                on_missing=self._on_missing,
                on_refused=self._on_tried,
            )
        else:
            self._declare(self._on_tried)

    def _declare(self, on_tried: OnTried) -> None:
        Declaring(self._loop, self._consuming, self._topology, on_tried, new_queue_wait_s=self._new_queue_wait_s)

    def _on_missing(self, what: str) -> None:
        self._await_setup()
        self._events.waiting(what)

    def _on_there(self, instead: Instead | None) -> None:
        if self._subscriptions is not None:
            self.fail("a coordinator of this build has come: connecting anew")
            return
        if instead is not None:
            self._instead, self._publisher.exchanges = instead, instead.exchanges
        self._on_tried(None)

    def _on_tried(self, problem: BaseException | None) -> None:
        if problem is not None:
            self.fail(problem)
        elif not self._down:
            self._subscriptions = {}
            for queue, wanted in self._wanted.items():
                if self._has(queue):
                    self._subscribe(queue, wanted.prefetch)
            self._check_ready()

    def _has(self, queue: str) -> bool:
        return self._instead is None or any(queue == there.name for there in self._instead.topology.queues)

    def _subscribe(self, queue: str, prefetch: int | None) -> None:
        assert self._subscriptions is not None  # noqa: S101 - made by `_on_tried`
        subscription = Subscription(queue, self.generation, self._on_delivery, self._check_ready, self.fail)
        self._subscriptions[queue] = subscription
        subscription.open(self._consuming, prefetch)

    def _check_ready(self) -> None:
        if self._down or self.ready or self._subscriptions is None:
            return
        if all(subscription.reached for subscription in self._subscriptions.values()):
            self.ready = True
            self._await_setup(on=False)
            self._call(self._events.ready)
            early, self._early = self._early, []
            for delivery in early:
                self._on_delivery(delivery)

    def _on_delivery(self, delivery: Delivery) -> None:
        if not self.ready and not self._down:
            self._early.append(delivery)  # the owner gets them after `ready`
        elif not self._down:
            self._call(lambda: self._wanted[delivery.queue].on_delivery(delivery))

    def _call(self, owner: Callable[[], None]) -> None:
        """Call the owner. An error of it is a bug, and what it holds is unknown: all of it is to be delivered again.

        pika would also cut the connection, but without a log line.
        """
        try:
            owner()
        except Exception as error:
            logger.exception("internal error while a message was handled")
            self.fail(f"internal error: {type(error).__name__}: {error}")

    def _on_blocked(self, _connection: object, frame: "Method[Any]") -> None:
        self.blocked = str(frame.method.reason or "resource alarm")
        logger.warning("RabbitMQ takes no messages now: %s; waiting", self.blocked)

    def _on_unblocked(self, _connection: object, _frame: "Method[Any]") -> None:
        self.blocked = None
        logger.info("RabbitMQ takes messages again")


def _nothing(_problem: str | None) -> None:
    """Whoever publishes is told by the problem of the message."""
