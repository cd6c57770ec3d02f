"""Commands to the coordinator, over the broker."""

from collections.abc import Sequence

from muniflow.model.messages import Command
from muniflow.model.topology import CONTROL, Topology, topology
from muniflow.runtime.settings import BrokerSettings
from muniflow.transport.types import OutgoingMessage


def control_message(settings: BrokerSettings, command: Command) -> OutgoingMessage:
    """A command as it travels, with the user of the broker who gives it."""
    from muniflow.transport.connection import user_of

    return OutgoingMessage(CONTROL, command.to_bytes(), user_id=user_of(settings))


def send_command(settings: BrokerSettings, command: Command) -> None:
    """Publish a command, durably: a coordinator that is away takes it when it is back.

    Raises:
        Unavailable: the broker is away.
    """
    send_commands(settings, [command])


def send_commands(settings: BrokerSettings, commands: Sequence[Command]) -> None:
    """The same for several commands.

    Raises:
        Unavailable: the broker is away.
    """
    from muniflow.transport.admin import publish_all

    if commands:
        publish_all(settings, [control_message(settings, command) for command in commands], control_topology())


def control_topology() -> Topology:
    """What a command needs: the exchanges, and the coordinator's queue."""
    whole = topology(())
    return Topology(whole.exchanges, tuple(queue for queue in whole.queues if queue.name.startswith(CONTROL)))
