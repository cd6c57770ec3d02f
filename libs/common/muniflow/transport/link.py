"""One generation of a transport: a connection to consume and one to publish, which live and end together."""

import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from pika import BasicProperties, DeliveryMode, URLParameters
from pika.channel import Channel
from pika.exceptions import AMQPHeartbeatTimeout
from pika.frame import Method
from pika.spec import Basic

from muniflow.model.topology import Topology
from muniflow.runtime.loop import Loop
from muniflow.transport.confirms import ConfirmTracker, SettledGroup
from muniflow.transport.connection import GroupedConnection, describe, shut
from muniflow.transport.declare import declare
from muniflow.transport.silence import SilenceWatch
from muniflow.transport.subscription import Subscription
from muniflow.transport.types import Delivery, OutgoingMessage, PublishProblem

SETUP_TIMEOUT_S = 60.0
"""From connected to ready: making quorum queues on a busy cluster takes a while."""

OnSettled = Callable[[PublishProblem | None], None]

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
        generation: int,
        topology: Topology,
        wanted: Mapping[str, WantedQueue],
        events: LinkEvents,
    ) -> None:
        """Begin to connect. `wanted` is read when the topology is declared, and at each delivery."""
        self.generation = generation
        self.ready = False
        self.blocked: str | None = None
        self._loop = loop
        self._parameters = parameters
        self._topology = topology
        self._wanted = wanted
        self._events = events
        self._subscriptions: dict[str, Subscription] | None = None
        self._early: list[Delivery] = []
        self._publisher: Channel | None = None
        self._confirms: ConfirmTracker[OnSettled] = ConfirmTracker()
        self._id = secrets.token_hex(6)
        self._open_count = 0
        self._ended_count = 0
        self._down = False
        self._setup_timer: Any = None
        self._consuming = self._connect()
        self._publishing = self._connect()
        both = (self._consuming, self._publishing)
        self._silence = SilenceWatch(loop, both, lambda: self.fail(AMQPHeartbeatTimeout()))
        self._publishing.add_on_connection_blocked_callback(self._on_blocked)
        self._publishing.add_on_connection_unblocked_callback(self._on_unblocked)

    def want(self, queue: str) -> None:
        """`wanted[queue]` has changed."""
        if self._subscriptions is None or self._down:
            return
        prefetch = self._wanted[queue].prefetch
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
        """Publish a group in one write; only while `ready`.

        Raises:
            Exception: pika's, where a header or a key cannot be encoded: a bug of the caller; no callback follows.
        """
        assert self._publisher is not None  # noqa: S101 - `ready` says so
        self._confirms.begin(on_settled)
        try:
            with self._publishing.one_write():
                for message in messages:
                    self._publisher.basic_publish(
                        message.exchange,
                        message.routing_key,
                        message.body,
                        self._properties(message),
                        mandatory=message.mandatory,
                    )
                    self._confirms.published()
        except BaseException:
            self._confirms.abandon()
            raise
        _tell(self._confirms.end())

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
        if self._setup_timer is not None:
            self._loop.remove_timeout(self._setup_timer)
        for connection in (self._consuming, self._publishing):
            shut(connection, self._loop)
        _tell(self._confirms.lost())

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
            self._setup_timer = self._loop.call_later(
                SETUP_TIMEOUT_S,
                lambda: self.fail(f"RabbitMQ took longer than {SETUP_TIMEOUT_S:.0f} s to make the queues"),
            )
            self._publishing.channel(on_open_callback=self._on_publisher)

    def _on_ended(self, _connection: object, error: BaseException) -> None:
        self._ended_count += 1
        self.fail(error)
        if self._ended_count == 2:  # noqa: PLR2004 - one to consume, one to publish
            self._events.ended(self)

    def _on_publisher(self, channel: Channel) -> None:
        self._publisher = channel
        channel.add_on_close_callback(self._on_channel_closed)
        channel.add_on_return_callback(self._on_returned)
        channel.confirm_delivery(self._on_confirm, callback=lambda _frame: self._open_setup_channel())

    def _open_setup_channel(self) -> None:
        if not self._down:
            self._consuming.channel(on_open_callback=self._declare)

    def _declare(self, channel: Channel) -> None:
        channel.add_on_close_callback(self._on_channel_closed)
        with self._consuming.one_write():
            # Without waiting for each: the broker works them off in order, and closes the channel at the first wrong
            # one, whose name it says.
            declare(channel, self._topology)
            channel.basic_qos(callback=lambda _frame: self._on_declared())

    def _on_declared(self) -> None:
        if self._down:
            return
        self._subscriptions = {}
        for queue, wanted in self._wanted.items():
            self._subscribe(queue, wanted.prefetch)
        self._check_ready()

    def _subscribe(self, queue: str, prefetch: int | None) -> None:
        assert self._subscriptions is not None  # noqa: S101 - made by `_on_declared`
        subscription = Subscription(queue, self.generation, self._on_delivery, self._check_ready, self.fail)
        self._subscriptions[queue] = subscription
        subscription.open(self._consuming, prefetch)

    def _check_ready(self) -> None:
        if self._down or self.ready or self._subscriptions is None:
            return
        if all(subscription.reached for subscription in self._subscriptions.values()):
            self.ready = True
            self._loop.remove_timeout(self._setup_timer)
            self._setup_timer = None
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

    def _on_channel_closed(self, _channel: Channel, reason: BaseException) -> None:
        self.fail(reason)

    def _properties(self, message: OutgoingMessage) -> BasicProperties:
        # A returned message does not carry its number; this header does.
        numbered = f"{self._id}.{self._confirms.next_tag}"
        return BasicProperties(
            content_type="application/json",
            delivery_mode=DeliveryMode.Persistent.value,
            headers=dict(message.headers) if message.headers else None,
            message_id=message.message_id or numbered,
            correlation_id=numbered if message.message_id else None,
            timestamp=message.sent_at,
            user_id=message.user_id,
        )

    def _on_returned(self, _channel: Channel, method: Basic.Return, properties: BasicProperties, _body: bytes) -> None:
        numbered = properties.correlation_id or properties.message_id or ".0"
        tag = int(numbered.rpartition(".")[2])
        self._confirms.returned(tag, f'returned: no queue for "{method.routing_key}"')

    def _on_confirm(self, frame: "Method[Any]") -> None:  # quoted: in pika 1.3, Method takes no argument
        answer = frame.method
        refused = isinstance(answer, Basic.Nack)
        settled = self._confirms.confirmed(answer.delivery_tag, multiple=answer.multiple, refused=refused)
        self._call(lambda: _tell(settled))

    def _on_blocked(self, _connection: object, frame: "Method[Any]") -> None:
        self.blocked = str(frame.method.reason or "resource alarm")
        logger.warning("RabbitMQ takes no messages now: %s; waiting", self.blocked)

    def _on_unblocked(self, _connection: object, _frame: "Method[Any]") -> None:
        self.blocked = None
        logger.info("RabbitMQ takes messages again")


def _tell(settled: Sequence[SettledGroup[OnSettled]]) -> None:
    for group in settled:
        group.owner(None if group.problem is None else PublishProblem(group.problem))
