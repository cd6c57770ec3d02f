"""`muniflow recover`."""

import time
from typing import TYPE_CHECKING, Any

import click

from muniflow_cli.commands import exits
from muniflow_cli.commands.output import examples, json_option, number, show_json

if TYPE_CHECKING:
    from muniflow.runtime.settings import BrokerSettings

REASON = "moved by muniflow recover: its ledger was lost"


@click.command(epilog=examples("muniflow recover", "muniflow recover --json"))
@json_option
def command(*, as_json: bool) -> int:
    """After the loss of the ledger: move all queued tasks to the dead letters, before anything is dispatched.

    For a stack whose workers and coordinator are stopped; then start them and submit the batches again. The coordinator
    keeps the tasks as letters, for a look. Repeating it is safe.
    """
    from muniflow.model import earlier
    from muniflow.model.operation import installed_operations
    from muniflow.model.topology import all_delays_s, delay_exchange, topology, work_queues
    from muniflow.transport.admin import publish_all
    from muniflow_cli.commands.target import find_target

    settings, operations = find_target().require_broker(), tuple(installed_operations())
    work = [queue for operation in operations for queue in work_queues(operation)]
    _require_nobody(settings, work)
    publish_all(settings, (), topology(operations))  # an earlier build may have declared less
    queues = (*work, *map(delay_exchange, all_delays_s()), *earlier.queues(operations))
    moved = sum(_move(settings, queue) for queue in queues)
    if as_json:
        show_json({"moved": moved})
    else:
        click.echo(f"moved to the dead letters: {number(moved)}")
    return exits.OK


def _require_nobody(settings: "BrokerSettings", queues: list[str]) -> None:
    """Check that no worker takes tasks.

    Raises:
        Rejected: one does; the text says what to do.
    """
    from muniflow.errors import Rejected
    from muniflow.transport.admin import queue_depths

    busy = [name for name, depth in queue_depths(settings, queues).items() if depth.consumers]
    if busy:
        raise Rejected(f"workers take from {', '.join(busy)}: stop the workers and the coordinator first")


def _move(settings: "BrokerSettings", queue: str) -> int:
    """Move the tasks of a queue; what is no task is left. Returns how many were moved."""
    from pydantic import ValidationError

    from muniflow.errors import NotFound
    from muniflow.model.messages import Task
    from muniflow.model.topology import dead_queue, exchange_to, operation_of, step_queue
    from muniflow.transport.admin import browse
    from muniflow.transport.types import OutgoingMessage

    moved = 0

    def decide(message: Any, publish: Any) -> Any:
        nonlocal moved
        operation = operation_of(queue)  # `None`: a delay queue, with tasks of all operations
        if operation is None:
            try:
                operation = Task.from_bytes(message.body).op
            except ValidationError:
                return "keep"
        headers: dict[str, str | int] = {"reason": REASON, "failed_at": int(time.time())}
        dead = dead_queue(step_queue(operation))
        publish(OutgoingMessage(dead, message.body, exchange_to(dead), headers))
        moved += 1
        return "remove"

    try:
        browse(settings, queue, decide)
    except NotFound:
        return 0  # nothing has declared it yet
    return moved
