"""The channel of a connection by which messages go, each confirmed."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pika import BasicProperties, DeliveryMode
from pika.channel import Channel
from pika.frame import Method
from pika.spec import Basic

from muniflow.transport.confirms import ConfirmTracker, SettledGroup
from muniflow.transport.connection import GroupedConnection
from muniflow.transport.types import OutgoingMessage, PublishProblem

OnSettled = Callable[[PublishProblem | None], None]


class Publisher:
    """Publishes groups of messages, and tells of each once whether it is safe."""

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
            connection: open.
            user: whom messages name as their sender; `None`: nobody.
            call: calls what the owner gave, which may raise.
            on_returned: called when no queue takes a message.
        """
        self._connection = connection
        self._user = user
        self._call = call
        self._on_returned_call = on_returned
        self._channel: Channel | None = None
        self._confirms: ConfirmTracker[OnSettled] = ConfirmTracker()
        self._id = secrets.token_hex(6)

    def open(self, on_open: Callable[[], None], on_closed: Callable[[BaseException], None]) -> None:
        """Open the channel."""

        def opened(channel: Channel) -> None:
            self._channel = channel
            channel.add_on_close_callback(lambda _channel, reason: on_closed(reason))
            channel.add_on_return_callback(self._on_returned)
            channel.confirm_delivery(self._on_confirm, callback=lambda _frame: on_open())

        self._connection.channel(on_open_callback=opened)

    def publish(self, messages: Sequence[OutgoingMessage], on_settled: OnSettled) -> None:
        """Publish a group in one write; only while the channel is open.

        Raises:
            Exception: pika's, where a header or a key cannot be encoded: a bug of the caller; no callback follows.
        """
        assert self._channel is not None  # noqa: S101 - it is open
        self._confirms.begin(on_settled)
        try:
            with self._connection.one_write():
                for message in messages:
                    self._channel.basic_publish(
                        self.exchanges.get(message.exchange, message.exchange),
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

    def lost(self) -> None:
        """The connection is lost: publishes without an answer are told so."""
        _tell(self._confirms.lost())

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
            user_id=message.user_id or self._user,
        )

    def _on_returned(self, _channel: Channel, method: Basic.Return, properties: BasicProperties, _body: bytes) -> None:
        numbered = properties.correlation_id or properties.message_id or ".0"
        tag = int(numbered.rpartition(".")[2])
        self._confirms.returned(tag, f'returned: no queue for "{method.routing_key}"')
        self._on_returned_call()

    def _on_confirm(self, frame: "Method[Any]") -> None:  # quoted: in pika 1.3, Method takes no argument
        answer = frame.method
        refused = isinstance(answer, Basic.Nack)
        settled = self._confirms.confirmed(answer.delivery_tag, multiple=answer.multiple, refused=refused)
        self._call(lambda: _tell(settled))


def _tell(settled: Sequence[SettledGroup[OnSettled]]) -> None:
    for group in settled:
        group.owner(None if group.problem is None else PublishProblem(group.problem))
