"""Makes queues anew that exist with other arguments, and keeps what is in them.

RabbitMQ changes no argument of a queue: whoever declares it otherwise gets 406. So its messages move to a queue beside
it, it is deleted and made anew, and they move back. Each is confirmed in its new place before it leaves the old one: a
move that is broken off has lost nothing, may have doubled a message, and goes on when it is asked for again.
"""

from collections.abc import Sequence
from itertools import groupby

from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker

from muniflow.errors import MuniflowError, Unavailable
from muniflow.model.topology import (
    DELAY_PREFIX,
    EXCHANGE,
    LOST,
    NO_LIMIT,
    TASKS_EXCHANGE,
    Queue,
    Topology,
    exchange_to,
)
from muniflow.runtime.settings import BrokerSettings
from muniflow.transport.admin import open_channel
from muniflow.transport.connection import NOT_FOUND, PRECONDITION_FAILED
from muniflow.transport.declare import bind, make
from muniflow.transport.unusable import unusable

DELIVERIES = "x-delivery-count"
"""A header of the broker about the place that a message leaves."""
KEY = "muniflow-key"
"""Our header for the routing key that a message came with, while it waits beside its queue."""
SETTLE_S = 1.0
"""What the broker itself is moving out of a queue, because its time or its deliveries are over, is gone after this."""


def renew(settings: BrokerSettings, topology: Topology) -> dict[str, int]:
    """Make each queue of a topology anew that exists with other arguments, or that the broker cannot use.

    Returns:
        The messages that moved, by queue; a queue that is as it should be is not named.

    Raises:
        MuniflowError: somebody takes from such a queue, or may not publish what is in it; the text says what to do.
        Unavailable: the broker is away.
    """
    refusing = unusable(settings, topology.queues)
    moved = {queue.name: 0 for queue in refusing}
    with open_channel(settings, "muniflow doctor") as channel:
        for queue in refusing:
            channel.queue_delete(queue.name)
        other = [queue for queue in topology.queues if _differs(channel, queue)]
        busy = [queue.name for queue in other if _consumers(channel, queue)]
        if busy:
            raise MuniflowError(f"somebody takes from {', '.join(busy)}: stop all workers and coordinators first")
        meant = [queue for queue in topology.queues if queue in other or _consumers(channel, _aside(queue)) is not None]
        try:
            make(channel, Topology(topology.exchanges if meant or refusing else ()))
            _make(channel, refusing, settings.new_queue_wait_s)
            for _, alike in groupby(sorted(meant, key=_rank), _rank):
                queues = list(alike)
                _move_out(channel, [queue for queue in queues if queue in other], settings.new_queue_wait_s)
                moved |= _move_in(channel, queues, settings.new_queue_wait_s)
        except ChannelClosedByBroker as error:
            raise Unavailable("broker", f"{error.reply_text}; nothing is lost: mend that, and go on with it") from None
    return moved


def _rank(queue: Queue) -> int:
    """When a queue moves. The broker moves messages by itself, too: where to must be there before where from goes."""
    if "x-dead-letter-exchange" not in queue.arguments:
        return 0
    return 1 if queue.name == LOST else 3 if "x-message-ttl" in queue.arguments else 2


def _aside(queue: Queue) -> Queue:
    """Where the messages of a queue wait meanwhile."""
    name = f"muniflow.aside.{queue.name.removeprefix('muniflow.')}"
    return Queue(name, {"x-queue-type": "quorum", "x-delivery-limit": NO_LIMIT}, ((EXCHANGE, name),))


def _differs(channel: BlockingChannel, queue: Queue) -> bool:
    if _consumers(channel, queue) is None:
        return False
    asking = channel.connection.channel()  # the broker closes a channel whose question it refuses
    try:
        asking.queue_declare(queue.name, durable=True, arguments=dict(queue.arguments))
    except ChannelClosedByBroker as error:
        if error.reply_code == PRECONDITION_FAILED:
            return True
        raise
    asking.close()
    return False


def _consumers(channel: BlockingChannel, queue: Queue) -> int | None:
    """How many take from a queue; `None` where there is no such queue."""
    asking = channel.connection.channel()
    try:
        consumers = int(asking.queue_declare(queue.name, passive=True).method.consumer_count or 0)
    except ChannelClosedByBroker as error:
        if error.reply_code == NOT_FOUND:
            return None
        raise
    asking.close()
    return consumers


def _move_out(channel: BlockingChannel, queues: Sequence[Queue], wait_s: float) -> None:
    _make(channel, [_aside(queue) for queue in queues], wait_s)
    for queue in queues:
        # Whoever publishes meanwhile is told that no queue takes it. The build before had its own way in.
        for source, key in {*queue.bindings, (EXCHANGE, queue.name)}:
            channel.queue_unbind(queue.name, source, routing_key=key)
        _move(channel, queue.name, EXCHANGE, _aside(queue).name, remember=True)
    channel.connection.sleep(SETTLE_S)
    for queue in queues:
        _move(channel, queue.name, EXCHANGE, _aside(queue).name, remember=True)
        channel.queue_delete(queue.name)


def _move_in(channel: BlockingChannel, queues: Sequence[Queue], wait_s: float) -> dict[str, int]:
    _make(channel, queues, wait_s)
    moved = {}
    for queue in queues:
        aside = _aside(queue).name
        if queue.name.startswith(DELAY_PREFIX):  # what waited for a time goes where it would have gone then
            moved[queue.name] = _move(channel, aside, TASKS_EXCHANGE, None)
        else:
            way_in = exchange_to(queue.name), queue.name
            channel.queue_bind(queue.name, *way_in)
            moved[queue.name] = _move(channel, aside, *way_in)
            if way_in not in queue.bindings:  # by the broker alone, under keys of other queues
                channel.queue_unbind(queue.name, *way_in)
        channel.queue_delete(aside)
    return moved


def _make(channel: BlockingChannel, queues: Sequence[Queue], wait_s: float) -> None:
    """As services do it: no message comes into a queue that its node might forget."""
    topology = Topology((), tuple(queues))
    make(channel, topology)
    channel.connection.sleep(wait_s if queues else 0)
    bind(channel, topology)


def _move(channel: BlockingChannel, source: str, exchange: str, key: str | None, *, remember: bool = False) -> int:
    """Publish all that is in a queue under another key, or under the one that it came with; returns how much it was."""
    moved = 0
    while True:
        method, properties, body = channel.basic_get(source)
        if method is None or properties is None or body is None:
            return moved
        headers = dict(properties.headers or {})
        headers.pop(DELIVERIES, None)
        came_with = headers.pop(KEY, method.routing_key)
        properties.headers = {**headers, KEY: came_with} if remember else headers
        channel.basic_publish(exchange, str(came_with) if key is None else key, body, properties, mandatory=True)
        channel.basic_ack(method.delivery_tag or 0)
        moved += 1
