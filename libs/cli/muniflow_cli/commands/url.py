"""`muniflow url`."""

from urllib.parse import urlsplit

import click

from muniflow_cli.commands import exits
from muniflow_cli.commands.output import examples, json_option, show_json


@click.command(epilog=examples("export MUNIFLOW_AMQP_URL=$(muniflow url)"))
@json_option
def command(*, as_json: bool) -> int:
    """Print the AMQP URL of the stack, with its password, for a program that publishes batches."""
    from muniflow_cli.commands.target import find_target

    broker = find_target().require_broker()
    if as_json:
        show_json({"amqp_url": broker.amqp_url})
    else:
        click.echo(broker.amqp_url)
    return exits.OK


def without_password(url: str) -> str:
    """A URL as it may be shown to everybody."""
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{user.partition(':')[0]}:***@{host}" if user else host).geturl()
