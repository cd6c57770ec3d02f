"""Queues that are there: a busy node needs more than one attempt."""

from pika.exceptions import ChannelClosedByBroker, NackError
from tests.support.waiting import eventually

from muniflow.errors import Unavailable
from muniflow.model.topology import Topology
from muniflow.runtime.settings import BrokerSettings
from muniflow.transport.admin import open_channel
from muniflow.transport.declare import declare

PAUSE_S = 0.25


def declared(settings: BrokerSettings, topology: Topology, *, probed: bool = False) -> None:
    """Declare a topology and wait until it is there; `probed`: until each of its queues has taken a message, too.

    RabbitMQ 3.10 loses the supervisor of at-least-once dead-lettering when such a queue is deleted while its worker
    starts (a busy node, or one that just came back), and for a moment answers whoever declares or publishes with an
    internal error (541). What it is asked next finds the queue.
    """
    eventually(lambda: _made(settings, topology, probed), what="every queue is there", every_s=PAUSE_S)


def _made(settings: BrokerSettings, topology: Topology, probed: bool) -> bool:
    try:
        with open_channel(settings) as channel:
            declare(channel, topology)
            for queue in topology.queues if probed else ():
                channel.basic_publish("", queue.name, b"probe", mandatory=True)
                channel.queue_purge(queue.name)
    except (Unavailable, NackError, ChannelClosedByBroker):
        return False
    return True
