"""The interface of the store of state. An implementation passes `tests/contract/test_state.py`.

One thread writes: the loop of the coordinator. Methods under "readers" may be called from any thread. Every method
raises `Unavailable` while the database cannot answer (locked, no space, no network). Whether it did what it was asked
for is not known then (the connection may break after the commit), so asking again is always right, and ends in the same
state. Writers raise `Deposed` before the first `take_over`, and after another process has taken over.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from muniflow.model.ledger import Leaf, SettledImage
from muniflow.model.messages import BatchState, ImageState


@dataclass(frozen=True, slots=True)
class Counts:
    """How many images of a batch are in which state."""

    total: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0

    @property
    def pending(self) -> int:
        """Images that are not settled."""
        return self.total - self.done - self.failed - self.cancelled

    def plus(self, done: int = 0, failed: int = 0, cancelled: int = 0) -> "Counts":
        """These counts after some images changed their state."""
        return replace(self, done=self.done + done, failed=self.failed + failed, cancelled=self.cancelled + cancelled)


@dataclass(frozen=True, slots=True)
class NewBatch:
    """A batch to insert, in state `intake`."""

    id: str
    fingerprint: str
    spec: str
    """`Spec` as JSON."""
    municipality: str
    weight: int
    destination: str
    submitted_at: float
    document: bytes = b""
    """What came in; kept until the batch is accepted."""


@dataclass(frozen=True, slots=True)
class BatchRow:
    """A batch as it is kept."""

    number: int
    """Grows with each batch; images and leaves refer to it."""
    id: str
    fingerprint: str
    spec: str
    municipality: str
    state: BatchState
    cancelling: bool
    weight: int
    destination: str
    submitted_at: float
    finished_at: float | None
    report: str | None
    counts: Counts
    tallies: str
    """`Tallies` as JSON."""


class ImageRow(NamedTuple):
    """An image as it is kept. A tuple: a million of them are made twice for each batch of a million."""

    image: int
    """Its place in the batch, 0-based."""
    stem: str
    suffix: str
    """Its key below the batch's source is stem + suffix."""
    state: ImageState = "pending"
    run: int = 0
    reasons: tuple[str, ...] = ()


@dataclass(slots=True)
class Commit:
    """One batch's part of one transaction. Applied twice, it changes nothing more."""

    batch: int
    leaves: Sequence[Leaf] = ()
    settled: Sequence[SettledImage] = ()
    counts: Counts | None = None
    """New values of the batch's columns, here and below; `None` leaves a column as it is."""
    state: BatchState | None = None
    cancelling: bool | None = None
    tallies: str | None = None
    finished_at: float | None = None
    report: str | None = None


class State(Protocol):
    """The durable account of batches, images and open leaves."""

    # The writer

    def prepare(self) -> None:
        """Make or upgrade the tables; raises `Rejected` where a newer muniflow wrote them."""
        ...

    def take_over(self, holder: str) -> int:
        """Become the one that writes, until another one takes over; returns the new epoch."""
        ...

    def resign(self) -> None:
        """Write nothing more before the next `take_over`."""
        ...

    def insert_batch(self, batch: NewBatch, images: Sequence[ImageRow] | None = None) -> int:
        """Keep a new batch with its document; or, with all its `images`, as accepted. Returns its number."""
        ...

    def insert_images(self, batch: int, new: Sequence[ImageRow]) -> None:
        """Keep images; those that are kept already stay as they are."""
        ...

    def accept_batch(self, batch: int, total: int, rest: Sequence[ImageRow] = ()) -> None:
        """With `rest`, all images of a batch are kept: it runs, and its document is not needed any more."""
        ...

    def commit(self, changes: Sequence[Commit]) -> None:
        """Apply all of this in one durable transaction."""
        ...

    def cancel_images(self, batch: int, within: range, but: Collection[int]) -> Counts:
        """Cancel the pending ones of a range of images, `but` these; keeps and returns the batch's new counts."""
        ...

    def reopen_images(self, batch: int, within: range) -> Counts:
        """Make the failed ones of a range of images pending with the next run; the batch runs and has new counts."""
        ...

    def drop_images(self, batch: int, most: int) -> bool:
        """Forget up to `most` images of a batch, the last ones first; returns whether any are left."""
        ...

    def drop_batch(self, batch: int) -> None:
        """Forget a batch with all that belongs to it."""
        ...

    # Readers

    def mine(self) -> bool:
        """Whether this process is still the one that writes."""
        ...

    def holder(self) -> str:
        """What the one that took over last gave to `take_over`; empty, where nobody did."""
        ...

    def document(self, batch: int) -> bytes | None:
        """The document of a batch that is being read; `None` where it is not kept."""
        ...

    def find(self, batch_id: str) -> BatchRow | None:
        """A batch by its id."""
        ...

    def owner_of(self, destination: str) -> str | None:
        """The id of a batch whose destination is this one, above it or below it."""
        ...

    def unfinished(self) -> list[BatchRow]:
        """All batches that are not in a terminal state, oldest first."""
        ...

    def batches(
        self, *, state: str | None = None, municipality: str | None = None, after: int | None = None, limit: int = 100
    ) -> list[BatchRow]:
        """A page of batches, newest first, with numbers below `after`."""
        ...

    def images(self, batch: int, *, state: str | None = None, after: int = -1, limit: int = 1000) -> list[ImageRow]:
        """A page of images by number, with numbers above `after`."""
        ...

    def every_image(self, batch: int) -> Iterator[ImageRow]:
        """All images of a batch by number, in constant memory."""
        ...

    def opened(self, batch: int, wanted: Collection[int]) -> list[tuple[ImageRow, list[Leaf]]]:
        """These images, as far as they exist, with the leaves that are kept of them."""
        ...

    def leaves(self, batch: int) -> list[Leaf]:
        """All leaves that are kept of a batch: those of images that were open."""
        ...

    def doubled_stems(self, batch: int, limit: int) -> list[tuple[ImageRow, ImageRow]]:
        """The first two images of each stem that several images of a batch share, at most `limit`."""
        ...

    def states(self) -> dict[str, int]:
        """How many batches are in which state."""
        ...

    def close(self) -> None:
        """Close all connections."""
        ...
