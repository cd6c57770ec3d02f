"""Files below a batch's `source` that are no images of it: counted by reason, and the first ones named."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

MAX_NAMED: Final = 1000
"""Files that are named; all are counted. They lie in the ledger's row of their batch."""
MAX_REASONS: Final = 50
OTHER_REASON: Final = "another reason"


@dataclass(frozen=True)
class Skipped:
    """What the listing of a batch did not take."""

    count: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    """Files by reason."""
    named: tuple[tuple[str, str], ...] = ()
    """`(key, reason)` of the first `MAX_NAMED`."""

    def document(self) -> dict[str, Any]:
        """As it stands in the report."""
        named = [{"source": source, "reason": reason} for source, reason in self.named]
        return {"count": self.count, "reasons": dict(self.reasons), "named": named}


@dataclass
class SkippedFiles:
    """Gathers them while a list is read."""

    count: int = 0
    _reasons: dict[str, int] = field(default_factory=dict)
    _named: list[tuple[str, str]] = field(default_factory=list)

    def add(self, key: str, reason: str) -> None:
        """Count one file."""
        self.count += 1
        if len(self._named) < MAX_NAMED:
            self._named.append((key, reason))
        kept = reason if reason in self._reasons or len(self._reasons) < MAX_REASONS else OTHER_REASON
        self._reasons[kept] = self._reasons.get(kept, 0) + 1

    def result(self) -> Skipped:
        """All of them so far."""
        return Skipped(self.count, dict(self._reasons), tuple(self._named))


def reasons_text(reasons: Mapping[str, int]) -> str:
    """Reasons with their counts, the most frequent first: `text (3), a GIF (1)`."""
    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{reason} ({count})" for reason, count in ordered)
