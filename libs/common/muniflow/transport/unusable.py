"""Queues that the broker lists and cannot use: who takes from them, or publishes to them, is refused (541).

RabbitMQ has a new quorum queue in two lists, and writes neither to the disk at once. A node that is killed within a
second may have kept the name in one of them only. Nothing was ever confirmed in such a queue: it refuses each message.
"""

import time
from collections.abc import Sequence
from contextlib import suppress

from pika.exceptions import ChannelClosedByBroker

from muniflow.errors import Unavailable
from muniflow.model.topology import Queue
from muniflow.runtime.settings import BrokerSettings
from muniflow.transport.admin import open_channel

INTERNAL_ERROR = 541
TRIES = 3
PAUSE_S = 1.0
"""A node that has just come back may refuse for a moment what it does later."""


def unusable(settings: BrokerSettings, queues: Sequence[Queue]) -> list[Queue]:
    """Return those of these queues that refuse a consumer each time; one with messages or consumers is not tried.

    Raises:
        Unavailable: the broker is away.
    """
    left = list(queues)
    for number in range(TRIES):
        if left and number:
            time.sleep(PAUSE_S)
        left = _refusing(settings, left)
    return left


def _refusing(settings: BrokerSettings, queues: Sequence[Queue]) -> list[Queue]:
    refusing, rest = [], list(queues)
    while rest:
        tried: list[Queue] = []
        try:
            _try(settings, rest, tried)
        except Unavailable as error:
            if not tried or str(INTERNAL_ERROR) not in str(error):
                raise
            refusing.append(tried[-1])  # which closed the connection
        rest = rest[len(tried) :]
    return refusing


def _try(settings: BrokerSettings, queues: Sequence[Queue], tried: list[Queue]) -> None:
    """Take from one queue after the other, for a moment; `tried` are those up to the one that fails."""
    with open_channel(settings, "muniflow doctor") as channel:
        for queue in queues:
            tried.append(queue)
            asking = channel.connection.channel()
            with suppress(ChannelClosedByBroker):  # it is not there, or not ours to take from
                there = asking.queue_declare(queue.name, passive=True).method
                if not there.message_count and not there.consumer_count:
                    asking.basic_cancel(asking.basic_consume(queue.name, lambda *_: None))
                asking.close()
