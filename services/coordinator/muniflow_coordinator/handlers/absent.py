"""Named images that are not in the source store: found by one listing where that is cheap, and recorded as failed.

Each of them would otherwise be a task that finds nothing: 40,000 held a stage for 141 s.
"""

import unicodedata
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from muniflow.errors import NotFound
from muniflow.model.batch import Batch
from muniflow.model.keys import is_hidden, stored_key_problem
from muniflow.store.listing import missing
from muniflow.store.types import Store
from muniflow_coordinator.state.types import ImageRow

LISTED_PER_IMAGE, MAX_LISTED = 4, 100_000
"""A listing that goes on after so many names is dear: it is given up, and workers find what is absent."""
LINE_BYTES = 16
"""Of a manifest, for each of its images: its size says about how many there are."""
FEW = 100
"""Fewer of a chunk are left to workers: they cost little, and their reasons are the store's own."""
REASON = "the source was not in the store when the batch was accepted"


class ListedKeys:
    """The names below the prefix of a batch."""

    def __init__(self, batch: Batch, keys: set[int]) -> None:
        """Keep hashes of the names; a name that shares the hash of another one counts as there."""
        self._prefix = batch.source
        self._keys = keys

    @classmethod
    def find(cls, batch: Batch, source: Store) -> "ListedKeys | None":
        """List them; `None`: that is dear, or of no use as the batch is all that is there.

        Raises:
            Unavailable: the store is away.
        """
        if batch.lists_all:
            return None
        most = min(LISTED_PER_IMAGE * _images(batch, source), MAX_LISTED)
        keys: set[int] = set()
        for blob in source.list(batch.source, lambda key, _why: keys.add(_like(key))):
            keys.add(_like(blob.key))
            if len(keys) > most:
                return None
        return cls(batch, keys)

    def lack(self, key: str) -> bool:
        """Whether a source was not listed. What a listing does not show, or the store refuses, is not judged."""
        hidden = is_hidden(key[len(self._prefix) :])
        return not hidden and stored_key_problem(key) is None and _like(key) not in self._keys


def surely_absent(source: Store, keys: Mapping[int, str]) -> frozenset[int]:
    """Return which of these images, by number, the store says are not there: a listing may be older than they are.

    Raises:
        Unavailable: the store is away.
    """
    if len(keys) < FEW:
        return frozenset()
    gone = missing(source, keys.values())
    return frozenset(image for image, key in keys.items() if key in gone)


def failed_rows(batch: Batch, rows: Sequence[ImageRow], absent: Collection[int], at: float) -> list[ImageRow]:
    """Return the rows with those of absent images failed."""
    operation = batch.route[0].op
    said: dict[str, Any] = {
        "state": "failed",
        "reasons": (f"operations[0] ({operation}): {REASON}",),
        "code": NotFound.reason_code,
        "operation": operation,
        "failed_at": at,
    }
    return [row._replace(**said) if row.image in absent else row for row in rows]


def _images(batch: Batch, source: Store) -> int:
    """About as many as a batch names."""
    if batch.images is not None:
        return len(batch.images)
    return (source.size(batch.manifest or "") or 0) // LINE_BYTES + 1


def _like(key: str) -> int:
    """The same for all names that some file system takes for one: it may ignore case, or write accents otherwise."""
    return hash(unicodedata.normalize("NFKC", key).casefold())
