"""`muniflow report`."""

import json
from typing import TYPE_CHECKING, Any

import click

from muniflow_cli.commands.output import (
    duration,
    examples,
    exit_code,
    json_option,
    number,
    plain,
    show_table,
    styled_state,
)

if TYPE_CHECKING:
    from muniflow_cli.commands.target import Target


@click.command(epilog=examples("muniflow report demo", "muniflow report demo --json | jq .totals"))
@click.argument("batch", metavar="ID")
@json_option
def command(batch: str, *, as_json: bool) -> int:
    """Show the report of a batch that ended: totals, times, and every image that failed with its reason.

    The exit code is 0 when all of the batch is done, else 1. --json prints the whole report, as it is stored.
    """
    from muniflow_cli.commands.result import show_failures
    from muniflow_cli.commands.target import find_target

    target = find_target()
    text = _read(target, batch)
    report: dict[str, Any] = json.loads(text)
    if as_json:
        click.echo(text.decode(), nl=False)
        return exit_code(report["state"])
    totals, times = report["totals"], report["times"]
    show_table(
        "",
        ("batch", "municipality", "state", "images>", "done>", "failed>", "cancelled>", "outputs>", "time>"),
        [
            (
                plain(report["batch_id"]), plain(report["municipality"]), styled_state(report["state"]),
                number(totals["images"]), number(totals["done"]), number(totals["failed"]),
                number(totals["cancelled"]), number(totals["outputs"]), duration(times["seconds"]),
            )
        ],
    )  # fmt: skip
    failed = [(image["source"], tuple(image["reasons"])) for image in report["images"] if image["state"] == "failed"]
    if failed:
        show_failures(failed)
    click.echo(f"outputs: {target.stores.output_url.rstrip('/')}/{report['destination']}")
    return exit_code(report["state"])


def _read(target: "Target", batch: str) -> bytes:
    from muniflow.errors import NotFound
    from muniflow.model.keys import REPORT, output_key
    from muniflow.store.open import open_store
    from muniflow_cli.commands.client import Coordinator

    status = Coordinator(target.require_coordinator()).batch(batch)
    if status.report is None and status.finished_at is None:
        raise NotFound(f"batch {batch!r} is {status.state}; its report is written when it ends: muniflow watch {batch}")
    store = open_store(target.stores.output_url)
    return bytes(store.read(status.report or output_key(status.destination, REPORT)))
