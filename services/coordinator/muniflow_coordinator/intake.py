"""Reading which images a batch has: in a thread, in constant memory, handed over in chunks."""

import threading
from collections.abc import Callable, Iterator
from itertools import islice

from muniflow.batch import Batch
from muniflow.errors import Fault, Invalid
from muniflow.shards import MAX_FAULTS, Shard, iter_images, place_of, same_name
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


def row_of(batch: Batch, shard: Shard) -> ImageRow:
    """The row of an image."""
    return ImageRow(shard.n, shard.stem, shard.key[len(batch.source) + len(shard.stem) :])


def read_images(batch: Batch, source: Store, gate: Gate, hand_over: Callable[[list[ImageRow]], None]) -> int:
    """Hand all images of a batch over, in chunks; returns how many there are.

    Raises:
        Invalid: with the faults of the list of images.
        Unavailable: the source store is away.
        Stopped: the coordinator stops.
    """
    shards = iter_images(batch, source, check_names=False)
    total = 0
    while chunk := [row_of(batch, shard) for shard in islice(shards, CHUNK)]:
        total += len(chunk)
        gate.enter()
        hand_over(chunk)
    gate.drain()
    return total


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
