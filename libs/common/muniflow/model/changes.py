"""What a batch that is run `again: changed` kept of its last run, and which sources are gone since."""

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from muniflow.model.checksums import ImageSums

MAX_NAMED: Final = 1000
"""Sources that are named; all are counted. They lie in the ledger's row of their batch."""


class Kept(NamedTuple):
    """An image whose outputs are those of an earlier run."""

    revision: int
    """The run that made them."""
    sums: ImageSums | None = None
    metadata: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Changes:
    """What the last run and this one have in common; nothing for any other batch."""

    kept: int = 0
    """Images that are done already."""
    gone: int = 0
    """Sources of the last run that the batch no longer has."""
    named: tuple[str, ...] = ()
    """The first `MAX_NAMED` of them."""

    def document(self) -> dict[str, Any]:
        """As it stands in the report: only what is worth a word."""
        gone = {"gone": {"count": self.gone, "sources": list(self.named)}} if self.gone else {}
        return {**({"kept": self.kept} if self.kept else {}), **gone}

    def counts(self) -> dict[str, int | None]:
        """As notices and answers have it."""
        return {"kept": self.kept or None, "gone": self.gone or None}
