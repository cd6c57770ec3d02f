"""Publishes over one connection: a channel and the confirms that it waits for, and a new channel after a refusal."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from pika import BasicProperties, DeliveryMode
from pika.channel import Channel
from pika.frame import Method
from pika.spec import Basic

from muniflow.transport.confirms import ConfirmTracker, SettledGroup
from muniflow.transport.connection import GroupedConnection
from muniflow.transport.types import OutgoingMessage, PublishProblem

OnSettled = Callable[[PublishProblem | None], None]


class _Lane:
    """One channel in confirm mode."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.confirms: ConfirmTracker[OnSettled] = ConfirmTracker()
        self.id = secrets.token_hex(6)
        self.left = False
        """Whether we have closed it."""

    def properties(self, message: OutgoingMessage, user: str | None) -> BasicProperties:
        # A returned message does not carry its number; this header does.
        numbered = f"{self.id}.{self.confirms.next_tag}"
        return BasicProperties(
            content_type="application/json",
            delivery_mode=DeliveryMode.Persistent.value,
            headers=dict(message.headers) if message.headers else None,
            message_id=message.message_id or numbered,
            correlation_id=numbered if message.message_id else None,
            timestamp=message.sent_at,
            user_id=message.user_id or user,
        )


class Publisher:
    """Publishes groups of messages, and tells of each once whether it is safe.

    After a refusal, later messages go over a new channel. At its first message to a queue, a channel of RabbitMQ 3.10
    asks the node that leads the queue. If that node is gone by then (a cluster's, just killed), the channel asks the
    same node each time and refuses every message to the queue, for as long as the node is away, though the queue has
    had another leader for long.
    """

    exchanges: Mapping[str, str] = {}
    """Where messages go instead, by the exchange that they are meant for."""

    def __init__(
        self,
        connection: GroupedConnection,
        user: str | None,
        *,
        call: Callable[[Callable[[], None]], None],
        on_returned: Callable[[], None],
    ) -> None:
        """Prepare; `open` opens the channel.

        Args:
            connection: it is open by then.
            user: whom messages name as their sender; `None`: nobody.
            call: calls what the owner gave, which may raise.
            on_returned: called when no queue takes a message.
        """
        self._connection = connection
        self._user = user
        self._call = call
        self._on_returned = on_returned
        self._lane: _Lane | None = None
        self._leaving: list[_Lane] = []
        """Earlier channels whose last confirms are not there yet."""
        self._opening = False

    def open(self, on_open: Callable[[], None], on_closed: Callable[[BaseException], None]) -> None:
        """Open a channel; `on_open` is called when it can publish, `on_closed` when the broker closes it."""

        def opened(channel: Channel) -> None:
            lane = _Lane(channel)
            channel.add_on_close_callback(lambda _channel, reason: None if lane.left else on_closed(reason))
            channel.add_on_return_callback(partial(self._returned, lane))
            confirmed = partial(self._confirmed, lane, on_closed)
            channel.confirm_delivery(confirmed, callback=lambda _frame: self._ready(lane, on_open))

        self._opening = True
        self._connection.channel(on_open_callback=opened)

    def publish(self, messages: Sequence[OutgoingMessage], on_settled: OnSettled) -> None:
        """Publish a group in one write; only while the channel is open.

        Raises:
            Exception: pika's, where a header or a key cannot be encoded: a bug of the caller; no callback follows.
        """
        lane = self._lane
        assert lane is not None  # noqa: S101 - it is open
        lane.confirms.begin(on_settled)
        try:
            with self._connection.one_write():
                for message in messages:
                    lane.channel.basic_publish(
                        self.exchanges.get(message.exchange, message.exchange),
                        message.routing_key,
                        message.body,
                        lane.properties(message, self._user),
                        mandatory=message.mandatory,
                    )
                    lane.confirms.published()
        except BaseException:
            lane.confirms.abandon()
            raise
        _tell(lane.confirms.end())

    def lost(self) -> None:
        """The connection is lost: publishes without an answer are told so."""
        for lane in [*self._leaving, *([self._lane] if self._lane else [])]:
            _tell(lane.confirms.lost())

    def _ready(self, lane: _Lane, on_open: Callable[[], None]) -> None:
        self._opening = False
        before, self._lane = self._lane, lane
        if before is not None:
            self._leaving.append(before)
            self._close_answered()
        on_open()

    def _returned(
        self, lane: _Lane, _channel: Channel, method: Basic.Return, properties: BasicProperties, _body: bytes
    ) -> None:
        numbered = properties.correlation_id or properties.message_id or ".0"
        tag = int(numbered.rpartition(".")[2])
        lane.confirms.returned(tag, f'returned: no queue for "{method.routing_key}"')
        self._on_returned()

    def _confirmed(
        self,
        lane: _Lane,
        on_closed: Callable[[BaseException], None],
        frame: "Method[Any]",  # quoted: in pika 1.3, Method takes no argument
    ) -> None:
        answer = frame.method
        refused = isinstance(answer, Basic.Nack)
        settled = lane.confirms.confirmed(answer.delivery_tag, multiple=answer.multiple, refused=refused)
        if refused and lane is self._lane and not self._opening and self._connection.is_open:
            self.open(_nothing, on_closed)
        self._call(lambda: _tell(settled))
        self._close_answered()

    def _close_answered(self) -> None:
        for lane in [lane for lane in self._leaving if not len(lane.confirms)]:
            self._leaving.remove(lane)
            lane.left = True
            if lane.channel.is_open:
                lane.channel.close()


def _tell(settled: Sequence[SettledGroup[OnSettled]]) -> None:
    for group in settled:
        group.owner(None if group.problem is None else PublishProblem(group.problem))


def _nothing() -> None:
    """Whoever publishes goes on meanwhile."""
