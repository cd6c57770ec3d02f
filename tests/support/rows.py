"""Rows of a long run in a file: a run that was broken off goes on after what is there."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Row = dict[str, Any]


@dataclass
class Rows:
    """Objects of JSON, one a line, each with a field that names it."""

    path: Path | None
    """`None`: nothing is kept."""
    name: str
    """The field."""
    only: Row = field(default_factory=dict)
    """What rows of this run say; those that say other things are of another one."""
    known: dict[Any, Row] = field(init=False)
    """Rows by name."""

    def __post_init__(self) -> None:
        lines = self.path.read_text().splitlines() if self.path and self.path.exists() else []
        rows = (row for row in map(json.loads, lines) if self.only.items() <= row.items())
        self.known = {row[self.name]: row for row in rows}

    def add(self, row: Row) -> None:
        """Keep a row."""
        row = {**self.only, **row}
        self.known[row[self.name]] = row
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(json.dumps(row) + "\n")

    def values(self, row: Row) -> Row:
        """A row without what names it."""
        return {field: value for field, value in row.items() if field != self.name and field not in self.only}
