"""`muniflow down`."""

import click

from muniflow_cli.commands import exits
from muniflow_cli.commands.output import examples, json_option, show_json


@click.command(epilog=examples("muniflow down"))
@json_option
def command(*, as_json: bool) -> int:
    """Drain and stop the stack that runs on this machine; nothing to stop is no error.

    Workers finish what they run, then the coordinator and the private broker end. What is queued is kept for the
    next `up`.
    """
    from muniflow_cli.commands.target import find_target
    from muniflow_cli.stack.stop import stop_stack

    stopped = stop_stack(find_target().state_dir)
    if as_json:
        show_json({"stopped": stopped})
    else:
        click.echo("stopped" if stopped else "no stack runs here")
    return exits.OK
