"""A topology as AMQP calls, on a channel that waits for the broker or on one that does not."""

from pika.adapters.blocking_connection import BlockingChannel
from pika.channel import Channel

from muniflow.model.topology import Topology


def declare(channel: BlockingChannel | Channel, topology: Topology) -> None:
    """Declare exchanges, queues and bindings."""
    for exchange in topology.exchanges:
        channel.exchange_declare(exchange.name, exchange.kind, durable=True)
    for queue in topology.queues:
        channel.queue_declare(queue.name, durable=True, arguments=dict(queue.arguments))
        for source, key in queue.bindings:
            channel.queue_bind(queue.name, source, routing_key=key)
