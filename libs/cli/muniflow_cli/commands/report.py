"""`muniflow report`, and `muniflow report merge`."""

import json
from typing import TYPE_CHECKING, Any

import click

from muniflow_cli.commands.output import examples, exit_code, json_option
from muniflow_cli.commands.report_merge import merge
from muniflow_cli.commands.stored_report import stored_report

if TYPE_CHECKING:
    from muniflow.model.report_rows import RowFormat
    from muniflow_cli.commands.target import Target

SHOW = "show"
ROW_FORMATS = ("ndjson", "csv")  # as in `muniflow.model.report_rows`, which is imported when it is used


class ShowByDefault(click.Group):
    """A group in which `muniflow report ID` is `muniflow report show ID`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Name the command where it is left out."""
        if not args or (args[0] not in self.commands and args[0] not in self.get_help_option_names(ctx)):
            args = [SHOW, *args]
        return super().parse_args(ctx, args)


@click.group(
    cls=ShowByDefault,
    epilog=examples(
        "muniflow report demo",
        "muniflow report demo --json | jq .totals",
        "muniflow report merge results/demo --out report.json",
    ),
)
def command() -> None:
    """Show the report of a batch that ended, or make one of the reports of its shares.

    `muniflow report ID` is `muniflow report show ID`; with --json it prints the whole report, as it is stored.
    """


@command.command(SHOW, epilog=examples("muniflow report demo", "muniflow report demo --json | jq .totals"))
@click.argument("batch", metavar="ID")
@click.option(
    "--format", "form", type=click.Choice(ROW_FORMATS), help="Print the images only, a row for each: `ndjson` or `csv`."
)
@json_option
def show(batch: str, form: "RowFormat | None", *, as_json: bool) -> int:
    """Show the report of a batch that ended: totals, times, and every image that failed with its reason.

    The exit code is 0 when all of the batch is done, else 1. --json prints the whole report, as it is stored. --format
    streams its images, in constant memory: `muniflow report demo --format ndjson > demo.ndjson`.
    """
    from muniflow_cli.commands.result import show_failures, show_totals
    from muniflow_cli.commands.target import find_target

    target = find_target()
    if form is not None:
        return _stream(target, batch, form)
    text = _read(target, batch)
    report: dict[str, Any] = json.loads(text)
    if as_json:
        click.echo(text.decode(), nl=False)
        return exit_code(report["state"])
    show_totals(report)
    failed = [(image["source"], tuple(image["reasons"])) for image in report["images"] if image["state"] == "failed"]
    if failed:
        show_failures(failed)
    click.echo(f"outputs: {target.stores.output_url.rstrip('/')}/{report['destination']}")
    return exit_code(report["state"])


command.add_command(merge)


def _read(target: "Target", batch: str) -> bytes:
    store, key, _ = stored_report(target, batch)
    return bytes(store.read(key))


def _stream(target: "Target", batch: str, form: "RowFormat") -> int:
    from functools import partial

    from muniflow.model.report_rows import CHUNK_BYTES, rows_of

    store, key, state = stored_report(target, batch)
    with store.open(key) as report:
        for chunk in rows_of(iter(partial(report.read, CHUNK_BYTES), b""), form):
            click.echo(chunk, nl=False)
    return exit_code(state)
