"""`muniflow watch`."""

from typing import TYPE_CHECKING

import click

from muniflow_cli.commands.output import examples, exit_code, json_option, show_json

if TYPE_CHECKING:
    from muniflow_cli.commands.client import CoordinatorApi


@click.command(epilog=examples("muniflow watch", "muniflow watch demo", "muniflow watch demo --json > result.json"))
@click.argument("batch", metavar="[ID]", required=False)
@json_option
def command(batch: str | None, *, as_json: bool) -> int:
    """Follow a batch until its end: the newest one where no ID is given.

    The exit code is 0 when all of it is done, else 1. Ctrl-C ends only the watching.
    """
    from muniflow.errors import NotFound
    from muniflow_cli.commands.client import CoordinatorApi
    from muniflow_cli.commands.target import find_target

    coordinator = CoordinatorApi(find_target().require_coordinator())
    if batch is None:
        newest = coordinator.batches(limit=1).batches
        if not newest:
            raise NotFound("no batches yet; send one: muniflow submit examples/demo.json")
        batch = newest[0].batch_id
    return watch(coordinator, batch, as_json=as_json)


def watch(coordinator: "CoordinatorApi", batch: str, *, as_json: bool) -> int:
    """Show the progress of a batch until its end, and how it ended; returns the exit code.

    Raises:
        MuniflowError: the batch is unknown, or the coordinator is away for too long.
    """
    from muniflow_cli.commands.follow import follow
    from muniflow_cli.commands.progress import new_display
    from muniflow_cli.commands.result import show_end

    with new_display(quiet=as_json) as display:
        status = follow(coordinator, batch, display)
    if as_json:
        show_json(status)
    else:
        show_end(status, coordinator)
    return exit_code(status.state)
