"""`muniflow audit`."""

import time

import click

from muniflow_cli.commands.output import examples, json_option, plain, show_json, show_table

MAX_ENTRIES = 500


@click.command(epilog=examples("muniflow audit", "muniflow audit --batch utrecht-2026-11", "muniflow audit --json"))
@click.option("--batch", metavar="ID", help="Only what was done with this batch.")
@click.option("--owner", metavar="NAME", help="Only what was done for this owner.")
@click.option("--limit", type=click.IntRange(1, MAX_ENTRIES), default=50, show_default=True, help="So many at most.")
@click.option("--after", metavar="N", help="`next` of the page before.")
@json_option
def command(batch: str | None, owner: str | None, limit: int, after: str | None, *, as_json: bool) -> None:
    """Show who did what, newest first: submit, cancel, replay, drop, download of a batch, and changes of API keys."""
    from muniflow_cli.commands.client import CoordinatorApi
    from muniflow_cli.commands.target import find_target

    coordinator = CoordinatorApi(find_target().require_coordinator())
    page = coordinator.audit(owner=owner, batch=batch, after=after, limit=limit)
    if as_json:
        show_json(page)
        return
    rows = (
        [
            time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.at)),
            *map(plain, (entry.action, entry.owner, entry.by, entry.origin, entry.batch, entry.detail)),
        ]
        for entry in page.entries
    )
    show_table("", ["when", "what", "owner", "by", "from", "batch", ""], rows)
