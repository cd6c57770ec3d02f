"""The part of the state store about erasing batches and images."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from muniflow.model.audit import AuditEntry


class Erasure(NamedTuple):
    """What is to be erased, for whom; recorded until it is done."""

    batch: str
    """The id of the batch."""
    image: int | None
    """One image; `None`: all of the batch."""
    owner: str
    by: str
    """Who asked: as in the audit trail."""
    origin: str
    asked_at: float
    """Unix time, seconds."""


class Expired(NamedTuple):
    """A batch that was kept for as long as it may be."""

    batch: str
    """Its id."""
    owner: str
    days: float
    """How long that is."""


class ErasureState(Protocol):
    """Writers first, then readers, as in `types.State`."""

    def keep_erasure(self, new: Erasure) -> None:
        """Record what is to be erased; what is recorded already stays."""
        ...

    def erase_image(self, batch: int, image: int, name: str) -> None:
        """Leave nothing of an image but its number: it is `cancelled` then, and has this name."""
        ...

    def end_erasure(self, erasure: Erasure, entry: AuditEntry) -> None:
        """Delete a batch without images and what else names it, and the record; add `entry` to the audit trail.

        For one image, the record alone is deleted.
        """
        ...

    def erasures(self) -> list[Erasure]:
        """Return what is to be erased, oldest first."""
        ...

    def expired(self, now: float, keep_days: Mapping[str, float], limit: int) -> list[Expired]:
        """Return ended batches that were kept long enough, by their own `keep_days` or by that of their owner.

        Args:
            now: Unix time, seconds.
            keep_days: days by owner.
            limit: batches at most.
        """
        ...
