"""`muniflow cancel`."""

import click

from muniflow_cli.commands import exits
from muniflow_cli.commands.output import examples, json_option, show_json


@click.command(epilog=examples("muniflow cancel demo", "muniflow cancel demo --wait"))
@click.argument("batch", metavar="ID")
@click.option("--wait", is_flag=True, help="Wait until the images in flight are finished.")
@json_option
def command(batch: str, *, wait: bool, as_json: bool) -> int:
    """Stop dispatching images of a batch; those in flight are finished, and their outputs stay.

    A batch that has ended is left as it is: the exit code is 2 then.
    """
    from muniflow.errors import Rejected
    from muniflow.model.messages import TERMINAL, Command
    from muniflow_cli.commands.client import CoordinatorApi
    from muniflow_cli.commands.control import send_command
    from muniflow_cli.commands.follow import follow
    from muniflow_cli.commands.progress import NoDisplay
    from muniflow_cli.commands.target import find_target

    target = find_target()
    coordinator = CoordinatorApi(target.require_coordinator())
    status = coordinator.batch(batch)
    if status.state in TERMINAL:
        raise Rejected(f"batch {batch!r} has ended: it is {status.state}")
    send_command(target.require_broker(), Command(action="cancel", batch=batch))
    if wait:
        status = follow(coordinator, batch, NoDisplay())
    if as_json:
        show_json(status)
    else:
        click.echo(f"{batch}: {status.state}" if wait else f"{batch}: the coordinator was asked to cancel it")
    return exits.OK
