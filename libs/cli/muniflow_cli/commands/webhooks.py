"""`muniflow webhooks`."""

import time

import click

from muniflow_cli.commands.output import examples, json_option, plain, show_json, show_table

MAX_ENTRIES = 500


@click.command(epilog=examples("muniflow webhooks", "muniflow webhooks --owner utrecht --json"))
@click.option("--owner", metavar="NAME", help="Only those of this owner's batches.")
@click.option("--limit", type=click.IntRange(1, MAX_ENTRIES), default=50, show_default=True, help="So many at most.")
@click.option("--after", metavar="N", help="`next` of the page before.")
@json_option
def command(owner: str | None, limit: int, after: str | None, *, as_json: bool) -> None:
    """Show the webhooks that no receiver has taken, newest first: those that wait, and those that were given up."""
    from muniflow_cli.commands.client import CoordinatorApi
    from muniflow_cli.commands.target import find_target

    coordinator = CoordinatorApi(find_target().require_coordinator())
    page = coordinator.webhooks(owner=owner, after=after, limit=limit)
    if as_json:
        show_json(page)
        return
    rows = (
        [
            time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each.created_at)),
            *map(plain, (each.batch_id, each.owner, each.url)),
            "given up" if each.dead_at is not None else "waits",
            each.attempts,
            *map(plain, (each.reason_code or "", each.reason or "")),
        ]
        for each in page.webhooks
    )
    show_table("", ["since", "batch", "owner", "to", "state", "attempts>", "reason", ""], rows)
