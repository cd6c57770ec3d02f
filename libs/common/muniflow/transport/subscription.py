"""One queue that is consumed over one connection: its channel, its prefetch, and what is not settled yet."""

import itertools
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Any

from pika.channel import Channel
from pika.spec import Basic, BasicProperties

from muniflow.transport.connection import GroupedConnection
from muniflow.transport.types import Delivery


class Subscription:
    """Keeps the consumer of one queue at the prefetch that was asked for last.

    It has its own channel, so that its delivery tags are in the order of its queue and settle in few frames.
    """

    def __init__(
        self,
        queue: str,
        generation: int,
        on_delivery: Callable[[Delivery], None],
        on_consuming: Callable[[], None],
        on_trouble: Callable[[str | BaseException], None],
    ) -> None:
        """Describe it; `open` starts it.

        Args:
            queue: its name.
            generation: number of the connection, for its deliveries.
            on_delivery: called for each message.
            on_consuming: called when the wanted state is reached, each time it is.
            on_trouble: called when the channel is closed or the broker cancels the consumer.
        """
        self.queue = queue
        self._generation = generation
        self._on_delivery = on_delivery
        self._on_consuming = on_consuming
        self._on_trouble = on_trouble
        self._channel: Channel | None = None
        self._wanted: int | None = None
        self._current: int | None = None
        self._busy = True
        self._numbers = itertools.count(1)
        self._consumer_tag = ""
        self._unsettled: dict[int, None] = {}  # a dict keeps the order of arrival

    @property
    def reached(self) -> bool:
        """Whether it consumes as wanted."""
        return not self._busy and self._wanted == self._current

    def open(self, connection: GroupedConnection, prefetch: int | None) -> None:
        """Open the channel and consume."""
        self._wanted = prefetch
        connection.channel(on_open_callback=self._opened)

    def want(self, prefetch: int | None) -> None:
        """Consume with this prefetch; `None` stops consuming and keeps the channel for what is not settled."""
        self._wanted = prefetch
        if not self._busy:
            self._step()

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Settle."""
        for tag, multiple in self._take(deliveries):
            if self._channel is not None:
                self._channel.basic_ack(tag, multiple)

    def requeue(self, deliveries: Sequence[Delivery]) -> None:
        """Hand back, the oldest first: a quorum queue keeps what came back in that order."""
        for tag, multiple in self._take(deliveries):
            if self._channel is not None:
                self._channel.basic_nack(tag, multiple, requeue=True)

    def reject(self, deliveries: Sequence[Delivery]) -> None:
        """Give to the dead-letter queue."""
        for tag, multiple in self._take(deliveries):
            if self._channel is not None:
                self._channel.basic_nack(tag, multiple, requeue=False)

    def _take(self, deliveries: Sequence[Delivery]) -> list[tuple[int, bool]]:
        """Forget deliveries; returns the frames that settle them: a tag, and whether it includes all before it.

        One frame for the oldest ones that are settled together, one for each other. RabbitMQ closes the channel when a
        tag is settled twice, so what is not known here is left out.
        """
        tags = {delivery.tag for delivery in deliveries if delivery.tag in self._unsettled}
        prefix = list(takewhile(tags.__contains__, self._unsettled))
        others = sorted(tags.difference(prefix))
        for tag in tags:
            del self._unsettled[tag]
        return [(tag, len(prefix) > 1) for tag in prefix[-1:]] + [(tag, False) for tag in others]

    def _opened(self, channel: Channel) -> None:
        self._channel = channel
        channel.add_on_close_callback(self._closed)
        channel.add_on_cancel_callback(self._cancelled)
        self._busy = False
        self._step()

    def _closed(self, _channel: Channel, reason: BaseException) -> None:
        self._channel = None
        self._unsettled.clear()
        self._on_trouble(reason)

    def _cancelled(self, _frame: Any) -> None:
        self._on_trouble(f"the broker cancelled the consumer of {self.queue!r}: its queue was deleted or moved")

    def _step(self) -> None:
        """One step towards the wanted state; the answer of the broker leads to the next."""
        if self._channel is None or not self._channel.is_open:
            return
        if self._wanted == self._current:
            self._on_consuming()
            return
        self._busy = True
        if self._current is not None:
            # A prefetch holds for consumers made after it. What arrives until the broker has answered goes back.
            self._channel.basic_cancel(self._consumer_tag, callback=self._cancel_done)
        elif self._wanted is not None:
            self._channel.basic_qos(prefetch_count=self._wanted, callback=self._qos_done)

    def _cancel_done(self, _frame: Any) -> None:
        self._current = None
        self._busy = False
        self._step()

    def _qos_done(self, _frame: Any) -> None:
        if self._channel is None or not self._channel.is_open:
            return
        self._current = self._wanted
        if self._current is None:  # cancelled meanwhile
            self._consume_done(None)
            return
        # A new tag each time: RabbitMQ 3.10 fails with 541 when one with unsettled deliveries is used again.
        self._consumer_tag = f"{self.queue}#{next(self._numbers)}"
        self._channel.basic_consume(
            self.queue, self._deliver, consumer_tag=self._consumer_tag, callback=self._consume_done
        )

    def _consume_done(self, _frame: Any) -> None:
        self._busy = False
        self._step()

    def _deliver(self, _channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes) -> None:
        tag = int(method.delivery_tag or 0)
        self._unsettled[tag] = None
        self._on_delivery(
            Delivery(
                queue=self.queue,
                body=body,
                tag=tag,
                generation=self._generation,
                redelivered=bool(method.redelivered),
                headers=properties.headers or {},
                message_id=properties.message_id,
                sent_at=properties.timestamp,
                user_id=properties.user_id,
            )
        )
