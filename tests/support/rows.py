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
    known: dict[Any, Row] = field(init=False)
    """Rows by name."""

    def __post_init__(self) -> None:
        lines = self.path.read_text().splitlines() if self.path and self.path.exists() else []
        self.known = {row[self.name]: row for row in map(json.loads, lines)}

    def add(self, row: Row) -> None:
        """Keep a row."""
        self.known[row[self.name]] = row
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(json.dumps(row) + "\n")
