"""Finds records of a long stream by their keys, in nearly constant memory, where both come in nearly one order."""

from collections.abc import Iterator
from typing import Generic, TypeVar

Record = TypeVar("Record")

MAX_AHEAD = 100_000
"""Records held at once."""


class Ahead(Generic[Record]):
    """Reads on as far as a search needs. A record that is out of reach counts as not there."""

    def __init__(self, records: Iterator[tuple[str, Record]], *, sorted_by_key: bool, most: int = MAX_AHEAD) -> None:
        """Read nothing yet.

        Args:
            records: each with its key.
            sorted_by_key: whether they, and what is searched, come in the order of the bytes of their keys: then
                nothing is read past a key that is not there, and the oldest are forgotten. Otherwise all are read up
                to `most`.
            most: records held at once.
        """
        self._records = records
        self._sorted = sorted_by_key
        self._most = most
        self._held: dict[str, Record] = {}
        self._last = b""

    def take(self, key: str) -> Record | None:
        """The record of a key, which is searched once; `None` where there is none."""
        if (held := self._held.pop(key, None)) is not None:
            return held
        wanted = key.encode(errors="replace")
        while not (self._sorted and self._last > wanted) and (self._sorted or len(self._held) < self._most):
            found = next(self._records, None)
            if found is None:
                return None
            if found[0] == key:
                return found[1]
            self._hold(*found)
        return None

    def _hold(self, key: str, record: Record) -> None:
        self._held[key] = record
        self._last = key.encode(errors="replace")
        if len(self._held) > self._most:
            del self._held[next(iter(self._held))]
