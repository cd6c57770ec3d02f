"""The last run of a batch, read from its report: which of its outputs stand for images that have not changed.

The report decides on both engines, so a batch may move from one to the other. It is read beside the list, in nearly
constant memory (`muniflow.store.ahead`): what is out of reach is run anew.
"""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple, Self

from muniflow.errors import NotFound, Rejected
from muniflow.model.batch import Batch
from muniflow.model.changes import MAX_NAMED, Changes, Kept
from muniflow.model.checksums import ImageSums
from muniflow.model.keys import REPORT, output_key
from muniflow.model.messages import leaf_count
from muniflow.model.rendering import Rendering
from muniflow.model.report import making_of, output_keys
from muniflow.model.report_check import ReportReader
from muniflow.model.report_schema import ReportEntry
from muniflow.store.ahead import Ahead
from muniflow.store.listing import ImageRef
from muniflow.store.revisions import content_of
from muniflow.store.types import Store


class _Made(NamedTuple):
    version: str
    """Of the source."""
    outputs: tuple[str, ...]
    kept: Kept


class EarlierRun:
    """What the report in the destination of a batch says, held against its list."""

    def __init__(self, batch: Batch, output: Store) -> None:
        """Read nothing yet; see `find`."""
        self._batch = batch
        self._output = output
        self._report = output_key(batch.destination, REPORT)
        self._below = f"{batch.destination}/"
        self._leaves = leaf_count(batch.route)
        self._made = Ahead(self._done(), sorted_by_key=batch.lists_all)
        there = ((blob.key, True) for blob in output.list(self._below))
        self._there = Ahead(there, sorted_by_key=True)
        self._sources: set[int] = set()
        """Hashes of the keys of the batch: two that are equal would hide one source that is gone."""
        self._kept = 0

    @classmethod
    def find(cls, batch: Batch, output: Store) -> Self | None:
        """The last run of a batch that runs what has changed since; `None` where all of it is run.

        Raises:
            Unavailable: the store is away.
        """
        if batch.again != "changed" or not output.size(output_key(batch.destination, REPORT)):
            return None
        return cls(batch, output)

    def kept(self, ref: ImageRef) -> Kept | None:
        """What stands for an image of the list, asked for in its order; `None`: it is to be run.

        Raises:
            Unavailable: the store is away.
        """
        self._sources.add(hash(ref.key))
        made = self._made.take(ref.key)
        if made is None or made.version != ref.version:
            return None
        outputs = output_keys(self._batch.destination, ref.stem, self._batch.encoding, self._leaves)
        if made.outputs != tuple(outputs) or not all(self._there.take(key) for key in outputs):
            return None
        self._kept += 1
        return made.kept

    def changes(self) -> Changes:
        """What has become of the last run, once every image of the list was asked for.

        Raises:
            Unavailable: the store is away.
        """
        gone = 0
        named: list[str] = []
        for entry in self._gone():
            gone += 1
            if len(named) < MAX_NAMED:
                named.append(entry.source)
        return Changes(self._kept, gone, tuple(named))

    def remove_gone(self) -> int:
        """Remove the outputs of sources that are gone, where the batch says so; returns how many there were.

        Raises:
            Unavailable: the store is away.
        """
        if not self._batch.replace:
            return 0
        count = 0
        for entry in self._gone():
            for key in entry.outputs:
                if key.startswith(self._below):
                    self._output.delete(key)
                    count += 1
        return count

    def _done(self) -> Iterator[tuple[str, _Made]]:
        """The images whose outputs can be kept: those that are done and have all the facts that this batch asks for."""
        wanted = self._batch.checksums
        for entry, revision in self._read():
            if entry.state != "done" or entry.source_version is None or (wanted and entry.source_sha256 is None):
                continue
            sums = ImageSums(entry.source_sha256, tuple(entry.outputs_sha256)) if wanted else None
            kept = Kept(revision, sums, None if entry.metadata is None else tuple(entry.metadata))
            yield entry.source, _Made(entry.source_version, tuple(entry.outputs), kept)

    def _gone(self) -> Iterator[ReportEntry]:
        return (entry for entry, _ in self._read() if hash(entry.source) not in self._sources)

    def _read(self) -> Iterator[tuple[ReportEntry, int]]:
        """The images of the last run, with the run that made their outputs; none where it made something else."""
        reader = ReportReader(lambda _problem: None)
        try:
            for entry in reader.entries(content_of(self._output, self._report)):
                if not self._made_the_same(reader.header):
                    return
                yield entry, entry.revision or reader.header.get("revision", 1)
        except (NotFound, Rejected):
            return  # no report of ours: all of the batch is run

    def _made_the_same(self, header: dict[str, Any]) -> bool:
        wanted = json.loads(json.dumps(making_of(self._batch)))
        found = {name: header[name] for name in (*wanted, *Rendering.model_fields) if name in header}
        return bool(found == wanted)
