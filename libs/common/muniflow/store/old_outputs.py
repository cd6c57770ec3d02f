"""Outputs of an earlier run below the destination of a batch: none may be left that no report names."""

import json
from collections.abc import Iterator
from typing import Any, Self

from muniflow.errors import Fault, Invalid, NotFound, Rejected
from muniflow.model.batch import Batch
from muniflow.model.keys import REPORT, output_key
from muniflow.model.messages import leaf_count, output_name
from muniflow.model.report import IMAGES_FOLLOW
from muniflow.store.types import Store

MAX_NAMED = 5
"""Outputs that an error names."""


class OldOutputs:
    """What the report of an earlier run names, held against what a batch will write."""

    def __init__(self, batch: Batch, output: Store) -> None:
        """Read nothing yet; see `find`."""
        self._batch = batch
        self._output = output
        self._report = output_key(batch.destination, REPORT)
        self._stems: set[int] = set()
        """Hashes of the stems of the batch: two that are equal would hide one old output."""

    @classmethod
    def find(cls, batch: Batch, output: Store) -> Self | None:
        """Look for a report in the destination; `None` where there is none, as nearly always.

        Raises:
            Unavailable: the store is away.
        """
        old = cls(batch, output)
        return None if output.size(old._report) is None else old

    def expect(self, stem: str) -> None:
        """Count on the outputs of one image of the batch."""
        self._stems.add(hash(stem))

    def check(self) -> None:
        """Refuse the batch if it would leave old outputs, unless it replaces them all, or their report is kept.

        Raises:
            Invalid: naming the first ones.
            Unavailable: the store is away.
        """
        if self._batch.replace or self._batch.again is not None:
            return
        left = [key for key in self._keys() if not self._is_expected(key)]
        if left:
            more = f" and {len(left) - MAX_NAMED} more" if len(left) > MAX_NAMED else ""
            text = (
                f"{self._batch.destination}/ holds outputs of an earlier run that this one does not write: "
                f"{', '.join(left[:MAX_NAMED])}{more}. They would stay, and no report would name them: choose another "
                'destination, or remove all outputs of the earlier run with "replace": true (--replace)'
            )
            raise Invalid((Fault("destination", text),))

    def remove(self) -> int:
        """Remove every output that the old report names, then the report itself, where the batch says so.

        Call it when the batch is sure to run. Called again after a crash it goes on.

        Returns:
            How many there were.

        Raises:
            Unavailable: the store is away.
        """
        if not self._batch.replace:
            return 0
        count = 0
        for key in self._keys():
            self._output.delete(key)
            count += 1
        self._output.delete(self._report)
        return count

    def _is_expected(self, key: str) -> bool:
        name = key.removeprefix(f"{self._batch.destination}/")
        stem, _, rest = name.rpartition("-")
        index, _, _ = rest.partition(".")
        if not index.isdecimal() or int(index) >= leaf_count(self._batch.route):
            return False
        return name == output_name(stem, int(index), self._batch.encoding) and hash(stem) in self._stems

    def _keys(self) -> Iterator[str]:
        """The outputs that the old report names below the destination of the batch."""
        below = f"{self._batch.destination}/"
        for entry in self._entries():
            outputs = entry.get("outputs")
            for key in outputs if isinstance(outputs, list) else ():
                if isinstance(key, str) and key.startswith(below):
                    yield key

    def _entries(self) -> Iterator[dict[str, Any]]:
        try:
            stream = self._output.open(self._report)
        except (NotFound, Rejected):
            return
        with stream:
            first = True
            for line in stream:
                if first and not line.rstrip().endswith(IMAGES_FOLLOW):
                    return  # no report of ours
                if not first and (entry := _entry(line)) is not None:
                    yield entry
                first = False


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line.strip().removesuffix(b","))
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None
