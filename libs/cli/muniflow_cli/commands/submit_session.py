"""Submit a batch and receive its notices, over one connection."""

import contextlib
import time
import uuid
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pydantic import ValidationError

from muniflow.errors import Unavailable
from muniflow.model.messages import Notice
from muniflow.model.topology import BATCHES, EVERY_NOTICE, EXCHANGE, NOTIFY_EXCHANGE
from muniflow.runtime.settings import BrokerSettings

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel

SLICE_S = 0.25


class SubmitSession:
    """A context manager. It listens before it publishes, so no answer is missed."""

    def __init__(self, settings: BrokerSettings) -> None:
        # A person waits: a broker with an alarm is reported at once.
        self._settings = settings.model_copy(update={"blocked_timeout_s": settings.connect_timeout_s})
        self._open = contextlib.ExitStack()
        self._channel: BlockingChannel
        self._heard: list[Notice] = []

    def __enter__(self) -> Self:
        """Connect and listen.

        Raises:
            Unavailable: the broker is away, or refuses us.
            Invalid: its address is wrong.
        """
        from muniflow.transport.admin import name_of_own, open_channel

        self._channel = self._open.enter_context(open_channel(self._settings, "muniflow submit"))
        with self._told():
            self._channel.exchange_declare(NOTIFY_EXCHANGE, "topic", durable=True)
            queue = name_of_own()
            self._channel.queue_declare(queue, exclusive=True)
            self._channel.queue_bind(queue, NOTIFY_EXCHANGE, EVERY_NOTICE)
            self._channel.basic_consume(queue, self._on_notice, auto_ack=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self._open.close()

    def submit(self, document: bytes) -> str:
        """Publish a batch, durably; returns the id of the message, which the answer names.

        Raises:
            Unavailable: the broker did not take it.
        """
        import pika
        from pika.exceptions import AMQPError

        from muniflow.transport.connection import user_of

        message_id = str(uuid.uuid4())
        properties = pika.BasicProperties(
            content_type="application/json",
            delivery_mode=2,
            message_id=message_id,
            timestamp=int(time.time()),
            user_id=user_of(self._settings),
        )
        try:
            self._channel.basic_publish(EXCHANGE, BATCHES, document, properties, mandatory=True)
        except AMQPError as error:
            raise Unavailable(
                "broker", f"it did not take the batch ({type(error).__name__}); has a coordinator ever run with it?"
            ) from None
        return message_id

    def heard(self, timeout_s: float = SLICE_S) -> list[Notice]:
        """The notices since the last call; waits at most `timeout_s` for the first.

        Raises:
            Unavailable: the connection is lost.
        """
        deadline_s = time.monotonic() + timeout_s
        with self._told():
            while not self._heard and (left_s := deadline_s - time.monotonic()) > 0:
                self._channel.connection.process_data_events(time_limit=min(left_s, SLICE_S))
        heard, self._heard = self._heard, []
        return heard

    def answer_to(self, message_id: str, timeout_s: float) -> Notice | None:
        """The coordinator's answer to a submission; `None` when none came in time.

        Notices of the same batch that answer somebody else are passed over: theirs may have had other content.
        """
        deadline_s = time.monotonic() + timeout_s
        while (left_s := deadline_s - time.monotonic()) > 0:
            for notice in self.heard(left_s):
                if notice.message_id == message_id:
                    return notice
        return None

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        from muniflow.transport.admin import broker_errors, node_of

        with broker_errors(node_of(self._channel.connection)):
            yield

    def _on_notice(self, channel: object, method: object, properties: object, body: bytes) -> None:
        del channel, method, properties
        try:
            self._heard.append(Notice.from_bytes(body))
        except ValidationError:
            return  # a notice of a newer version, or not one of ours
