"""`muniflow status`."""

import time
from typing import TYPE_CHECKING

import click

from muniflow_cli.commands.output import (
    clock,
    duration,
    examples,
    json_option,
    number,
    plain,
    rate,
    say,
    show_json,
    show_table,
    styled_state,
    why_no_eta,
)
from muniflow_cli.commands.turns import deadline_text

if TYPE_CHECKING:
    from muniflow.model.api import BatchStatus
    from muniflow_cli.commands.client import CoordinatorApi


@click.command(epilog=examples("muniflow status", "muniflow status demo", "muniflow status demo --json"))
@click.argument("batch", metavar="[ID]", required=False)
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000), help="How many batches to list.")
@json_option
def command(batch: str | None, limit: int, *, as_json: bool) -> None:
    """Show a batch and its steps, or the newest batches.

    The exit code is 0 whatever the state of the batch; 2 when it is not known.
    """
    from muniflow.errors import NotFound
    from muniflow_cli.commands.client import CoordinatorApi
    from muniflow_cli.commands.target import find_target

    coordinator = CoordinatorApi(find_target().require_coordinator())
    if batch is None:
        _list(coordinator, limit, as_json=as_json)
        return
    try:
        status = coordinator.batch(batch)
    except NotFound:
        if not _show_rejected(coordinator, batch, as_json=as_json):
            raise
        return
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
    if text := deadline_text(status):
        click.echo(f"{text}; priority {status.priority}")
    if reason := why_no_eta(status):
        say(reason)
    if status.archived_at is not None:
        say("archived: its report stands for its images; failed ones are not run again")
    if status.report:
        say(f"report: {status.report}")


def _list(coordinator: "CoordinatorApi", limit: int, *, as_json: bool) -> None:
    from muniflow_cli.commands.rejections import show_rejections

    listed, rejected = coordinator.batches(limit), coordinator.rejections(limit)
    if as_json:
        documents = [each.model_dump(mode="json") for each in rejected]
        show_json({**listed.model_dump(mode="json"), "rejected": documents})
    else:
        _show_list(listed.batches)
        show_rejections(rejected)


def _show_rejected(coordinator: "CoordinatorApi", batch: str, *, as_json: bool) -> bool:
    """Show the last rejection of a batch that was never accepted; returns whether there is one."""
    from muniflow_cli.commands.rejections import show_faults

    rejected = coordinator.rejections(1, batch)
    if rejected and as_json:
        show_json({**rejected[0].model_dump(mode="json"), "state": "rejected"})
    elif rejected:
        show_faults(rejected[0])
    return bool(rejected)


def _show_list(batches: "tuple[BatchStatus, ...]") -> None:
    if not batches:
        click.echo("no batches yet; send one: muniflow submit examples/demo.json --wait")
        return
    now_at = time.time()
    named = any(status.name for status in batches)  # no column for what nobody uses
    columns = ("municipality", "state", "images>", "done>", "failed>", "in flight>", "rate>", "left>", "ends at>")
    show_table(
        "",
        ("batch", *(("name",) if named else ()), *columns),
        (
            (
                plain(status.batch_id), *((plain(status.name),) if named else ()), plain(status.municipality),
                styled_state(status.state), number(status.total), number(status.done), number(status.failed),
                number(status.in_flight), rate(status.rate_images_per_s), duration(status.eta_s),
                clock(status.eta_at, now_at),
            )
            for status in batches
        ),
    )  # fmt: skip
