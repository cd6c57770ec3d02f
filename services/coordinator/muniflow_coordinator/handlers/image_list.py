"""Reading which images a batch has: in a thread, in constant memory, handed over in chunks."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from muniflow.errors import Fault, Invalid
from muniflow.model.batch import Batch
from muniflow.store.listing import MAX_FAULTS, ImageRef, iter_images, place_of, same_name
from muniflow.store.types import Store
from muniflow_coordinator.state.types import ImageRow, State

CHUNK = 2000
"""Images in one transaction: about 20 ms of the loop's time."""
CHUNKS_AHEAD = 2
"""Chunks handed over and not recorded yet, so that a fast listing cannot fill the memory."""


class Stopped(Exception):
    """The coordinator stops; the batch comes again."""


class Gate:
    """Lets a few chunks pass ahead of what is recorded."""

    def __init__(self, stopping: threading.Event) -> None:
        """Open for `CHUNKS_AHEAD`; `stopping` ends every wait."""
        self._stopping = stopping
        self._free = threading.Semaphore(CHUNKS_AHEAD)

    def enter(self) -> None:
        """Wait for room for one chunk.

        Raises:
            Stopped: there will be none.
        """
        while not self._free.acquire(timeout=0.2):
            if self._stopping.is_set():
                raise Stopped

    def leave(self) -> None:
        """A chunk is recorded."""
        self._free.release()

    def drain(self) -> None:
        """Wait until every chunk is recorded."""
        for _ in range(CHUNKS_AHEAD):
            self.enter()


def row_of(batch: Batch, ref: ImageRef) -> ImageRow:
    """The row of an image."""
    return ImageRow(ref.n, ref.stem, ref.key[len(batch.source) + len(ref.stem) :])


@dataclass(frozen=True)
class Found:
    """The images of a batch that was read without a fault."""

    total: int
    rows: list[ImageRow] | None
    """All of them where they are few and their names are known to differ; `None`: they were handed over."""


def names_differ(rows: Sequence[ImageRow]) -> bool:
    """Whether no two of these images have one output name."""
    return len({row.stem for row in rows}) == len(rows)


def _chunk(batch: Batch, refs: Iterator[ImageRef]) -> list[ImageRow]:
    return [row_of(batch, ref) for ref in islice(refs, CHUNK)]


def few_named(batch: Batch, source: Store, output: Store) -> list[ImageRow] | None:
    """All images of a batch that names a few of them itself; `None` where there is more to read, or to complain of."""
    if batch.images is None or len(batch.images) >= CHUNK:
        return None
    try:
        rows = _chunk(batch, iter_images(batch, source, output, check_names=False))
    except Invalid:
        return None  # it is read again as any other, which ends with its faults
    return rows if names_differ(rows) else None


def read_images(
    batch: Batch, source: Store, output: Store, gate: Gate, hand_over: Callable[[list[ImageRow]], None]
) -> Found:
    """Read all images of a batch; many are handed over in chunks.

    Raises:
        Invalid: with the faults of the list of images.
        Unavailable: the source store is away.
        Stopped: the coordinator stops.
    """
    refs = iter_images(batch, source, output, check_names=False)
    total = 0
    chunk = _chunk(batch, refs)
    if len(chunk) < CHUNK and names_differ(chunk):
        return Found(len(chunk), chunk)
    while chunk:
        total += len(chunk)
        gate.enter()
        hand_over(chunk)
        chunk = _chunk(batch, refs)
    gate.drain()
    return Found(total, None)


def name_faults(batch: Batch, number: int, state: State) -> tuple[Fault, ...]:
    """A fault for each pair of images with one output name. The database looks for them: it can sort on disk."""
    return tuple(_name_faults(batch, number, state))


def _name_faults(batch: Batch, number: int, state: State) -> Iterator[Fault]:
    for first, second in state.doubled_stems(number, MAX_FAULTS):
        fault = same_name(place_of(batch, second.image), second.stem + second.suffix, first.stem + first.suffix)
        yield Fault(fault.place, f"{fault.problem} (the other one is {place_of(batch, first.image)})")


def check(batch: Batch, number: int, state: State) -> None:
    """Refuse two images with one output name.

    Raises:
        Invalid: naming both places of each.
    """
    if faults := name_faults(batch, number, state):
        raise Invalid(faults)
