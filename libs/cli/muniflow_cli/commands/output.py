"""Output of results: tables for people, JSON for scripts. rich is imported only when something is shown."""

import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from muniflow_cli.commands import exits

if TYPE_CHECKING:
    from rich.console import Console

    from muniflow.model.api import BatchStatus

Function = TypeVar("Function", bound=Callable[..., Any])

LOG_WIDTH = 160
"""Columns of a table in a log, which has no width of its own."""
STATE_STYLES = {
    "done": "green",
    "partial": "yellow",
    "failed": "red",
    "rejected": "red",
    "cancelled": "magenta",
    "running": "cyan",
    "finishing": "cyan",
    "intake": "cyan",
}
KILO = 1000
DAY_S, HOUR_S, MINUTE_S = 86_400, 3600, 60


def json_option(function: Function) -> Function:
    """The `--json` of every command."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts; errors are JSON on stderr.")(
        function
    )


def examples(*lines: str) -> str:
    """The end of a command's help."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def show_json(value: object) -> None:
    """Print a value, or a pydantic model, as JSON."""
    from muniflow.runtime.logs import json_text

    dump = getattr(value, "model_dump", None)
    click.echo(json_text(dump(mode="json") if dump else value, indent=2))


def say(text: str, *, err: bool = False) -> None:
    """Print a text with words of others (names, ids, reasons): no terminal takes them as commands."""
    from muniflow.runtime.logs import in_lines

    click.echo(in_lines(text), err=err)


def console(*, stderr: bool = False) -> "Console":
    """A console that keeps tables whole in a log."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, width=None if stream.isatty() else LOG_WIDTH, highlight=False)


def show_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; a column whose name ends in `>` holds numbers."""
    from rich import box
    from rich.table import Table

    table = Table(title=title or None, title_justify="left", title_style="bold", box=box.ROUNDED, header_style="bold")
    for column in columns:
        right = column.endswith(">")
        table.add_column(column.removesuffix(">"), justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    console().print(table)


def styled_state(state: str) -> str:
    """A state in its colour."""
    style = STATE_STYLES.get(state)
    return f"[{style}]{state}[/]" if style else state


def plain(text: str) -> str:
    """Escape names and reasons, so that rich does not read them as markup, and no terminal as commands."""
    from rich.markup import escape

    from muniflow.runtime.logs import in_lines

    return escape(in_lines(text))


def duration(seconds: float | None) -> str:
    """`1h 02m`, `3m 20s`, `4.2 s`; empty when it is not known."""
    if seconds is None:
        return ""
    if seconds >= HOUR_S:
        return f"{int(seconds // HOUR_S)}h {int(seconds % HOUR_S // MINUTE_S):02}m"
    if seconds >= MINUTE_S:
        return f"{int(seconds // MINUTE_S)}m {int(seconds % MINUTE_S):02}s"
    return f"{seconds:.1f} s"


def clock(at: float | None, now_at: float) -> str:
    """A Unix time as this place's clock shows it, with its date where it is not within a day; empty when not known."""
    if at is None:
        return ""
    return datetime.fromtimestamp(at).astimezone().strftime("%H:%M:%S" if at - now_at < DAY_S else "%Y-%m-%d %H:%M")


def why_no_eta(status: "BatchStatus") -> str:
    """What holds a batch up, or why its end is not known; empty where neither is."""
    if status.waiting_for:
        return f"waits for {status.waiting_for}"
    return f"end not known: {status.eta_reason}" if status.eta_reason else ""


def rate(per_second: float | None) -> str:
    """`12.3/s`; empty when it is not known."""
    return "" if per_second is None else f"{per_second:.1f}/s"


def number(value: int | None) -> str:
    """`12 345`; empty when it is not known."""
    return "" if value is None else f"{value:,}".replace(",", " ")


def size(count_bytes: float) -> str:
    """`1.2 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count_bytes < KILO:
            return f"{count_bytes:.0f} {unit}" if unit == "B" else f"{count_bytes:.1f} {unit}"
        count_bytes /= KILO
    return f"{count_bytes:.1f} TB"


def titled(batch: str, name: str) -> str:
    """A batch by its name and its id: `De Bilt, autumn (20261122-093015)`; only the id where it has no name."""
    from muniflow.runtime.logs import one_line

    return one_line(f"{name} ({batch})" if name and name != batch else batch)


def exit_code(state: str) -> int:
    """0 for a batch that is entirely done, else 1."""
    return exits.OK if state == "done" else exits.FAILED


def _cell(value: object) -> str:
    return "" if value is None else str(value)
