"""The list of images of a batch: read in chunks, so in constant memory, and checked for equal output names."""

from collections.abc import Iterator, Sequence
from itertools import islice

from muniflow.errors import Fault, Invalid
from muniflow.model.batch import Batch
from muniflow.model.changes import Changes, Kept
from muniflow.model.skipped import Skipped, SkippedFiles
from muniflow.store.earlier_run import EarlierRun
from muniflow.store.listing import MAX_FAULTS, ImageRef, iter_images, place_of, same_name
from muniflow.store.old_outputs import OldOutputs
from muniflow.store.revisions import keep_report
from muniflow.store.types import Store
from muniflow_coordinator.handlers.absent import ListedKeys, failed_rows, surely_absent
from muniflow_coordinator.runs.revisions import first_run
from muniflow_coordinator.state.types import ImageRow, State

CHUNK = 2000
"""Images inserted in one transaction: about 20 ms of the loop's time."""


def row_of(batch: Batch, ref: ImageRef, revision: int = 1, kept: Kept | None = None) -> ImageRow:
    """Return the row of an image; one that is `kept` is done already."""
    suffix = ref.key[len(batch.source) + len(ref.stem) :]
    row = ImageRow(ref.n, ref.stem, suffix, run=first_run(revision), version=ref.version)
    if kept is None:
        return row
    return row._replace(state="done", run=first_run(kept.revision), sums=kept.sums, metadata=kept.metadata)


def names_differ(rows: Sequence[ImageRow]) -> bool:
    """Return whether all of these images have different output names."""
    return len({row.stem for row in rows}) == len(rows)


class Chunks:
    """The rows of all images of a batch, in chunks. Equal output names are not checked."""

    def __init__(self, batch: Batch, source: Store, output: Store, at: float = 0.0) -> None:
        """Read nothing yet; what is absent counts as failed `at` that time, unix seconds."""
        self.ended = False
        """Whether the last image was read."""
        self.replaced = 0
        """Outputs of an earlier run that were removed."""
        self.revision = batch.revision
        """Which run of the batch this is; known with the first chunk."""
        self._batch = batch
        self._output = output
        self.changes = Changes()
        """What is kept of the last run, and what is gone; known with the last chunk."""
        self._old: OldOutputs | None = None
        self._earlier: EarlierRun | None = None
        self.absent = 0
        """Images so far that have failed, as their sources are not there."""
        self._at = at
        self._source = source
        self._listed: ListedKeys | None = None
        self._chunks = 0
        self._skipped = SkippedFiles()
        self._refs = iter_images(batch, source, output, check_names=False, skipped=self._skipped)

    @property
    def skipped(self) -> Skipped:
        """Return the files so far that are no images."""
        return self._skipped.result()

    def next(self) -> list[ImageRow]:
        """Read up to `CHUNK` images.

        Raises:
            Invalid: with all faults of the list, or outputs of an earlier run would be left; only at its end.
            Unavailable: the source or the output store is not available.
        """
        if not self._chunks:
            self.revision = keep_report(self._batch, self._output)
            self._earlier = EarlierRun.find(self._batch, self._output)
            self._old = OldOutputs.find(self._batch, self._output)
            self._listed = ListedKeys.find(self._batch, self._source)
        self._chunks += 1
        unlisted: dict[int, str] = {}
        rows = [self._row(ref, unlisted) for ref in islice(self._refs, CHUNK)]
        self.ended = len(rows) < CHUNK
        rows = failed_rows(self._batch, rows, surely_absent(self._source, unlisted), self._at)
        self.absent += sum(row.state == "failed" for row in rows)
        if self.ended and self._earlier is not None:
            self.changes = self._earlier.changes()
        if self._old is not None:
            for row in rows:
                self._old.expect(row.stem)
            if self.ended:
                self._old.check()
        if self.ended and self._chunks == 1 and names_differ(rows):
            self.clear()
        return rows

    def clear(self) -> None:
        """Remove the outputs of an earlier run, where the batch says so; the list must have no fault."""
        if self._earlier is not None:
            self.replaced = self._earlier.remove_gone()
        elif self._old is not None:
            self.replaced = self._old.remove()

    def _row(self, ref: ImageRef, unlisted: dict[int, str]) -> ImageRow:
        kept = None if self._earlier is None else self._earlier.kept(ref)
        if kept is None and self._listed is not None and self._listed.lack(ref.key):
            unlisted[ref.n] = ref.key
        return row_of(self._batch, ref, self.revision, kept)


def few_named(batch: Batch, source: Store, output: Store) -> list[ImageRow] | None:
    """Return all images of a batch that names fewer than `CHUNK` itself; `None` for any other, or a faulty list.

    One with a destination of its own choice may find old outputs there: no store is asked in the loop.
    """
    elsewhere = batch.destination != batch.batch_id or batch.replace or batch.again is not None
    if batch.images is None or len(batch.images) >= CHUNK or elsewhere:
        return None
    try:
        rows = [row_of(batch, ref) for ref in iter_images(batch, source, output, check_names=False)]
    except Invalid:
        return None  # read again like any other list, which reports its faults
    return rows if names_differ(rows) else None


def name_faults(batch: Batch, number: int, state: State) -> tuple[Fault, ...]:
    """Return a fault for each pair of images with one output name. The database finds them: it can sort on disk."""
    return tuple(_name_faults(batch, number, state))


def _name_faults(batch: Batch, number: int, state: State) -> Iterator[Fault]:
    for first, second in state.doubled_stems(number, MAX_FAULTS):
        fault = same_name(place_of(batch, second.image), second.stem + second.suffix, first.stem + first.suffix)
        yield Fault(fault.place, f"{fault.problem} (the other one is {place_of(batch, first.image)})")
