"""Removes what only the build before this one needs of a broker; it goes with `muniflow.model.earlier`."""

from collections.abc import Iterable

from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker

from muniflow.errors import Unavailable
from muniflow.model import earlier
from muniflow.model.topology import EXCHANGE, all_delays_s
from muniflow.runtime.settings import BrokerSettings
from muniflow.transport.admin import open_channel, queue_depths
from muniflow.transport.connection import NOT_FOUND


def in_use(settings: BrokerSettings, operations: Iterable[str]) -> tuple[str, ...]:
    """The queues of the build before that still hold a task, or that a worker takes from.

    Raises:
        Unavailable: the broker is away.
    """
    depths = queue_depths(settings, earlier.queues(operations))
    return tuple(name for name, depth in depths.items() if depth.ready or depth.consumers)


def remove(settings: BrokerSettings, operations: Iterable[str]) -> None:
    """Unbind from `EXCHANGE` what only workers of the build before publish to, and delete their queues.

    Raises:
        Unavailable: the broker is away, or refuses it.
    """
    names = tuple(operations)
    try:
        with open_channel(settings) as first:
            channel: BlockingChannel = first
            for queue in earlier.bindings(names):
                try:
                    channel.queue_unbind(queue, EXCHANGE, queue)
                except ChannelClosedByBroker as error:
                    if error.reply_code != NOT_FOUND:
                        raise
                    channel = first.connection.channel()  # the coordinator has not declared it yet, or never will
            for queue in earlier.queues(names):
                channel.queue_delete(queue)
            for delay_s in all_delays_s():
                channel.exchange_delete(earlier.delay_name(delay_s))
    except ChannelClosedByBroker as error:
        raise Unavailable("broker", str(error.reply_text)) from None
