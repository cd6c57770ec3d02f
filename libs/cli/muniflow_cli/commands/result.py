"""How the end of a batch is told."""

import click

from muniflow.model.api import BatchStatus
from muniflow_cli.commands.client import Coordinator
from muniflow_cli.commands.output import duration, number, plain, show_table, styled_state

MAX_SHOWN = 20
"""Failed images listed; the report has all."""


def show_end(status: BatchStatus, coordinator: Coordinator | None = None) -> None:
    """Print how a batch ended, and why images failed."""
    seconds = None if status.finished_at is None else status.finished_at - status.submitted_at
    outputs = status.done * status.outputs_per_image
    show_table(
        "",
        ("batch", "state", "images>", "done>", "failed>", "cancelled>", "outputs>", "time>"),
        [
            (
                plain(status.batch_id), styled_state(status.state), number(status.total), number(status.done),
                number(status.failed), number(status.cancelled), number(outputs), duration(seconds),
            )
        ],
    )  # fmt: skip
    if status.failed and coordinator is not None:
        show_failures([(image.source, image.reasons) for image in coordinator.images(status.batch_id, "failed")])
    if status.report:
        click.echo(f"report: {status.report}")


def show_failures(failed: "list[tuple[str, tuple[str, ...]]]") -> None:
    """Print the first failed images with their reasons."""
    show_table(
        "failed",
        ("image", "reason"),
        [(plain(source), plain("\n".join(reasons))) for source, reasons in failed[:MAX_SHOWN]],
    )
    if len(failed) > MAX_SHOWN:
        click.echo(f"… and {number(len(failed) - MAX_SHOWN)} more: see the report")
