"""`muniflow down`."""

import click

from muniflow.cli import exits
from muniflow.cli.output import examples, json_option, show_json


@click.command(epilog=examples("muniflow down"))
@json_option
def command(*, as_json: bool) -> int:
    """Drain and stop the stack that runs on this machine; nothing to stop is no error.

    Workers finish what they run, then the coordinator and the private broker end. What is queued is kept for the
    next `up`.
    """
    from muniflow.cli.target import find_target
    from muniflow.stack.stop import stop_stack

    stopped = stop_stack(find_target().state_dir)
    if as_json:
        show_json({"stopped": stopped})
    else:
        click.echo("stopped" if stopped else "no stack runs here")
    return exits.OK
