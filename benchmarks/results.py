"""Result files: `benchmarks/results/<date>-<name>.md` for people, `raw/<date>-<name>.json` with every measurement.

Git ignores `raw`.
"""

import datetime as dt
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console

from benchmarks.machine import describe
from benchmarks.tables import Result, markdown, rich_table

FOLDER = Path(__file__).parent / "results"
RAW = "raw"
"""The folder in it that git ignores: a document cites the summary, never the single measurements."""
WIDTH = 160
"""Of tables that go into a file or a log, in characters."""


def public_command(arguments: Sequence[str]) -> str:
    """The command to repeat it with; absolute paths are left out, since results are published."""
    shown = [re.sub(r"(^|=)/\S*", r"\1PATH", argument) for argument in arguments]
    return " ".join(["python", "-m", "benchmarks", *shown])


@dataclass(frozen=True)
class Circumstances:
    """What a result is worth nothing without."""

    command: str
    at: str
    load_before: float
    """Load average of the last minute before the run: how busy others kept the machine."""
    machine: dict[str, str]


def document(name: str, under: Circumstances, results: Sequence[Result]) -> str:
    """The Markdown file."""
    parts = [
        f"# {name}, {under.at}",
        "",
        f"`{under.command}`",
        "",
        ", ".join(f"{key} {value}" for key, value in under.machine.items())
        + f"; load average before: {under.load_before:.1f}",
        "",
        *(markdown(result) for result in results),
    ]
    return "\n".join(parts)


def publish(name: str, arguments: Sequence[str], load: float, results: Sequence[Result], folder: Path = FOLDER) -> Path:
    """Show the tables and write both files; returns the Markdown one."""
    terminal = Console()
    console = terminal if terminal.is_terminal else Console(width=WIDTH)
    for result in results:
        console.print(rich_table(result))
    now = dt.datetime.now(tz=dt.UTC)
    under = Circumstances(public_command(arguments), f"{now:%Y-%m-%d %H:%M UTC}", round(load, 2), describe())
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{now:%Y%m%d-%H%M%S}-{name}.md"
    file.write_text(document(name, under, results))
    raw = [
        {"title": result.title, "header": result.header, "rows": result.rows, "raw": result.raw} for result in results
    ]
    body = {"name": name, **asdict(under), "results": raw}
    measurements = folder / RAW / f"{file.stem}.json"
    measurements.parent.mkdir(exist_ok=True)
    measurements.write_text(json.dumps(body, indent=1) + "\n")
    console.print(f"written: {file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file.name}")
    return file
