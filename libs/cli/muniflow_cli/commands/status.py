"""`muniflow status`."""

from typing import TYPE_CHECKING

import click

from muniflow_cli.commands.output import (
    duration,
    examples,
    json_option,
    number,
    plain,
    rate,
    show_json,
    show_table,
    styled_state,
)

if TYPE_CHECKING:
    from muniflow.model.api import BatchStatus


@click.command(epilog=examples("muniflow status", "muniflow status demo", "muniflow status demo --json"))
@click.argument("batch", metavar="[ID]", required=False)
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000), help="How many batches to list.")
@json_option
def command(batch: str | None, limit: int, *, as_json: bool) -> None:
    """Show a batch and its steps, or the newest batches.

    The exit code is 0 whatever the state of the batch; 2 when it is not known.
    """
    from muniflow_cli.commands.client import Coordinator
    from muniflow_cli.commands.target import find_target

    coordinator = Coordinator(find_target().require_coordinator())
    if batch is None:
        listed = coordinator.batches(limit)
        if as_json:
            show_json(listed)
        else:
            _show_list(listed.batches)
        return
    status = coordinator.batch(batch)
    if as_json:
        show_json(status)
        return
    _show_list((status,))
    show_table(
        "",
        ("step", "operation", "done>", "of>", "failed>", "megapixels>", "compute>"),
        (
            (
                place + 1, step.op, number(step.done), number(step.expected), number(step.failed),
                f"{step.pixels / 1e6:.1f}", duration(step.compute_s),
            )
            for place, step in enumerate(status.steps)
        ),
    )  # fmt: skip
    if status.waiting_for:
        click.echo(f"waits for {status.waiting_for}")
    if status.report:
        click.echo(f"report: {status.report}")


def _show_list(batches: "tuple[BatchStatus, ...]") -> None:
    if not batches:
        click.echo("no batches yet; send one: muniflow submit examples/demo.json --wait")
        return
    show_table(
        "",
        ("batch", "municipality", "state", "images>", "done>", "failed>", "in flight>", "rate>", "left>"),
        (
            (
                plain(status.batch_id), plain(status.municipality), styled_state(status.state), number(status.total),
                number(status.done), number(status.failed), number(status.in_flight), rate(status.rate_images_per_s),
                duration(status.eta_s),
            )
            for status in batches
        ),
    )  # fmt: skip
