"""What `doctor` finds, as data."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    check: str
    """What was checked: `broker`, `queue muniflow.events`, `output store`."""
    what: str
    """What was found."""
    to_do: str = ""
    """What to do about it; empty when all is well."""


def worst(findings: list[Finding]) -> Level:
    """The worst level among them."""
    levels = {finding.level for finding in findings}
    return "error" if "error" in levels else "warning" if "warning" in levels else "ok"
