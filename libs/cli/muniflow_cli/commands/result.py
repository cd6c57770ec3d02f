"""How the end of a batch is told."""

from collections.abc import Mapping
from typing import Any

import click

from muniflow.model.api import BatchStatus
from muniflow.model.skipped import reasons_text
from muniflow_cli.commands.client import CoordinatorApi
from muniflow_cli.commands.output import duration, number, plain, say, show_table, styled_state, titled

MAX_SHOWN = 20
"""Failed images listed; the report has all."""


def show_end(status: BatchStatus, coordinator: CoordinatorApi | None = None) -> None:
    """Print how a batch ended, and why images failed."""
    seconds = None if status.finished_at is None else status.finished_at - status.submitted_at
    outputs = status.done * status.outputs_per_image
    show_table(
        "",
        ("batch", "state", "images>", "done>", "failed>", "cancelled>", "outputs>", "time>"),
        [
            (
                plain(titled(status.batch_id, status.name)), styled_state(status.state), number(status.total),
                number(status.done), number(status.failed), number(status.cancelled), number(outputs),
                duration(seconds),
            )
        ],
    )  # fmt: skip
    if status.failed and coordinator is not None:
        show_failures([(image.source, image.reasons) for image in coordinator.images(status.batch_id, "failed")])
    show_changes(status.kept, status.gone)
    show_skipped(status.skipped, status.skipped_reasons)
    if status.report:
        say(f"report: {status.report}")


def show_totals(report: Mapping[str, Any]) -> None:
    """Print the totals of a report."""
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
    show_changes(report.get("kept", 0), report.get("gone", {}).get("count", 0))
    show_replaced(report.get("replaced", 0))
    if skipped := report.get("skipped"):
        show_skipped(skipped["count"], skipped["reasons"])


def show_skipped(count: int, reasons: Mapping[str, int]) -> None:
    """Say how many files of the source are no images, and why."""
    if count:
        files = "1 file" if count == 1 else f"{number(count)} files"
        click.echo(f"skipped, no images: {files}: {reasons_text(reasons)}; the report names them")


def show_changes(kept: int, gone: int) -> None:
    """Say what an earlier run had made already, and what it had that is gone."""
    if kept:
        click.echo(f"kept: {number(kept)} images have not changed since an earlier run")
    if gone:
        click.echo(f"gone: {number(gone)} sources of the run before; the report names them")


def show_replaced(count: int) -> None:
    """Say how many outputs of an earlier run were removed."""
    if count:
        click.echo(f"replaced: {number(count)} outputs of an earlier run were removed from the destination")


def show_failures(failed: "list[tuple[str, tuple[str, ...]]]") -> None:
    """Print the first failed images with their reasons."""
    from muniflow.runtime.logs import one_line

    show_table(
        "failed",
        ("image", "reason"),
        [(plain(one_line(source)), plain("\n".join(reasons))) for source, reasons in failed[:MAX_SHOWN]],
    )
    if len(failed) > MAX_SHOWN:
        click.echo(f"… and {number(len(failed) - MAX_SHOWN)} more: see the report")
