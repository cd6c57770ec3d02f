"""Commands to the coordinator, over the broker."""

from muniflow.model.messages import Command
from muniflow.model.topology import CONTROL, Topology, topology
from muniflow.runtime.settings import BrokerSettings
from muniflow.transport.types import OutgoingMessage


def control_message(command: Command) -> OutgoingMessage:
    """A command as it travels."""
    return OutgoingMessage(CONTROL, command.to_bytes())


def send_command(settings: BrokerSettings, command: Command) -> None:
    """Publish a command, durably: a coordinator that is away takes it when it is back.

    Raises:
        Unavailable: the broker is away.
    """
    from muniflow.transport.admin import publish_once

    publish_once(settings, control_message(command), control_topology())


def control_topology() -> Topology:
    """What a command needs: the exchanges, and the coordinator's queue."""
    whole = topology(())
    return Topology(whole.exchanges, tuple(queue for queue in whole.queues if queue.name.startswith(CONTROL)))
