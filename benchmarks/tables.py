"""Results as tables: the same rows for the terminal, Markdown and JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.table import Table

from benchmarks.statistics import Round, cpu_ratios, rates, ratios, spread


@dataclass(frozen=True)
class Result:
    """One table with what it was made from."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    raw: Any = field(default=None)
    """The single measurements, for the JSON file."""


def comparison(title: str, rounds: Sequence[Round], bases: Sequence[str]) -> Result:
    """Rates and ratios of every contender; a base that did not take part has no column."""
    names = list(rounds[0])
    used = [base for base in bases if base in names]
    header = (
        "contender",
        "images/s",
        "CPU ms per image",
        *(f"/ {base}" for base in used),
        *(f"CPU / {base}" for base in used[:1]),
    )
    rows = [
        (
            name,
            rates(rounds, name).text(1),
            spread([one[name].cpu_ms_per_image for one in rounds]).text(1),
            *(ratios(rounds, name, base).text() for base in used),
            *(cpu_ratios(rounds, name, base).text() for base in used[:1]),
        )
        for name in names
    ]
    note = f"median (lowest to highest) of {len(rounds)} interleaved rounds; each ratio is taken within a round"
    return Result(title, header, tuple(rows), (note,), single_runs(rounds))


def single_runs(rounds: Sequence[Round]) -> list[dict[str, dict[str, Any]]]:
    """Every run of every contender, for `Result.raw`."""
    return [{name: asdict(run) for name, run in one.items()} for one in rounds]


def markdown(result: Result) -> str:
    """A heading, the table and its notes."""
    lines = [
        f"### {result.title}",
        "",
        "| " + " | ".join(result.header) + " |",
        "| " + " | ".join(["---", *["---:"] * (len(result.header) - 1)]) + " |",
        *("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in result.rows),
        "",
    ]
    if result.notes:
        lines += [f"{'; '.join(result.notes)}.", ""]
    return "\n".join(lines)


def rich_table(result: Result) -> Table:
    """For a terminal."""
    table = Table(title=result.title, caption="; ".join(result.notes), title_justify="left", caption_justify="left")
    for number, name in enumerate(result.header):
        table.add_column(name, justify="left" if number == 0 else "right")
    for row in result.rows:
        table.add_row(*row)
    return table
