"""The interface of the state store. An implementation passes `tests/contract/test_state.py`.

One thread writes: the loop of the coordinator. Methods under "readers" may be called from any thread. Every method
raises `Unavailable` while the database cannot answer (locked, no space, no network). The connection may break after the
commit, so the change may have been made; calling the method again is always right and ends in the same state. Writers
raise `Deposed` before the first `take_over`, and after another process has taken over.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from muniflow.model.audit import AuditEntry
from muniflow.model.checksums import ImageSums
from muniflow.model.ledger import Leaf, SettledImage
from muniflow.model.messages import BatchState, ImageState
from muniflow.model.owners import DEFAULT_OWNER
from muniflow_coordinator.state.archive_types import ArchiveState
from muniflow_coordinator.state.charge_types import ChargeState
from muniflow_coordinator.state.erasure_types import ErasureState
from muniflow_coordinator.state.failure_types import ANY, Chosen
from muniflow_coordinator.state.learned_types import ForecastRow, ServiceTimeRow
from muniflow_coordinator.state.webhook_types import WebhookState


@dataclass(frozen=True, slots=True)
class Counts:
    """Images of a batch by state."""

    total: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0

    @property
    def pending(self) -> int:
        """Return how many images are not settled."""
        return self.total - self.done - self.failed - self.cancelled

    def plus(self, done: int = 0, failed: int = 0, cancelled: int = 0) -> "Counts":
        """Return the counts after some images changed their state."""
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
    """As received; stored until the batch is accepted."""
    owner: str = DEFAULT_OWNER
    keep_days: float | None = None


@dataclass(frozen=True, slots=True)
class BatchRow:
    """A batch in the database."""

    number: int
    """Increases with each batch; images and leaves refer to it."""
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
    owner: str = DEFAULT_OWNER
    archived_at: float | None = None
    """When its report took the place of its images; unix seconds."""


class ImageRow(NamedTuple):
    """An image in the database. A tuple, because a batch of a million images makes two million of them."""

    image: int
    """Its place in the batch, 0-based."""
    stem: str
    suffix: str
    """Its key below the batch's source is stem + suffix."""
    state: ImageState = "pending"
    run: int = 0
    reasons: tuple[str, ...] = ()
    code: str | None = None
    """For `failed`: its reason code."""
    sums: ImageSums | None = None
    """For `done`, where `every_image` gives it and digests are known."""
    version: str | None = None
    """`Blob.version` of its source."""
    metadata: tuple[str, ...] | None = None
    """For `done`: what its outputs keep of the metadata of its source, where that is known."""
    operation: str | None = None
    """Here and below, to insert one that has `failed`: the operation, and when, unix time."""
    failed_at: float | None = None


@dataclass(slots=True)
class Commit:
    """The changes of one batch in a transaction. Applied twice, they change nothing more."""

    batch: int
    leaves: Sequence[Leaf] = ()
    settled: Sequence[SettledImage] = ()
    counts: Counts | None = None
    """Here and below: new values of the batch's columns; `None` leaves a column as it is."""
    state: BatchState | None = None
    cancelling: bool | None = None
    in_flight: Collection[int] | None = None
    """With `cancelling`: the images that go on to their end, also after a restart."""
    tallies: str | None = None
    finished_at: float | None = None
    report: str | None = None


class State(ArchiveState, ChargeState, ErasureState, WebhookState, Protocol):
    """Durable records of batches, images and leaves of open images."""

    # The writer

    def prepare(self) -> None:
        """Create or upgrade the tables; raises `Rejected` if a newer muniflow wrote them."""
        ...

    def take_over(self, holder: str) -> int:
        """Become the process that writes, until another one takes over; returns the new epoch."""
        ...

    def resign(self) -> None:
        """Write nothing more before the next `take_over`."""
        ...

    def insert_batch(self, batch: NewBatch, images: Sequence[ImageRow] | None = None) -> int:
        """Insert a new batch with its document; or, with all its `images`, as accepted. Returns its number."""
        ...

    def insert_images(self, batch: int, new: Sequence[ImageRow]) -> None:
        """Insert images; existing ones are not changed."""

    def commit(self, changes: Sequence[Commit]) -> None:
        """Apply all of this in one durable transaction."""
        ...

    def cancel_images(self, batch: int, within: range, but: Collection[int]) -> Counts:
        """Cancel the pending images of a range, except `but`; records and returns the batch's new counts."""
        ...

    def reopen_images(self, batch: int, within: range, chosen: Chosen = ANY) -> Counts:
        """Make chosen failures of a range pending, in their next run; records and returns the batch's new counts."""
        ...

    def restart_images(self, batch: int, wanted: Mapping[int, int]) -> None:
        """Put pending images into their next run, without the leaves of the last.

        Args:
            batch: number of the batch.
            wanted: images with the run that each is in; one that is in another run, or settled, is not changed.
        """
        ...

    def drop_images(self, batch: int, most: int) -> bool:
        """Delete up to `most` images of a batch, the last ones first; returns whether any are left."""
        ...

    def drop_batch(self, batch: int) -> None:
        """Delete a batch with its images, leaves and document."""

    def keep_service_times(self, observed: Sequence[ServiceTimeRow], most: int) -> None:
        """Insert or replace the rows of these classes; of all rows only the `most` newest are kept."""
        ...

    def keep_forecasts(self, changed: Sequence[ForecastRow], most: int) -> None:
        """Insert or replace these rows; of those that ended only the `most` newest are kept."""
        ...

    def keep_audit(self, entries: Sequence[AuditEntry]) -> None:
        """Add entries to the audit trail; those that it has are not changed."""
        ...

    # Readers

    def mine(self) -> bool:
        """Return whether this process took over last."""
        ...

    def holder(self) -> str:
        """Return the `holder` of the last `take_over`; empty if there was none."""
        ...

    def document(self, batch: int) -> bytes | None:
        """Return the document of a batch in state `intake`, or `None`."""
        ...

    def kept_images(self, batch: int) -> list[int]:
        """Return the images of a batch that were in flight when it was cancelled."""
        ...

    def find(self, batch_id: str) -> BatchRow | None:
        """Return a batch by its id."""
        ...

    def owner_of(self, destination: str) -> str | None:
        """Return the id of a batch with this destination, or one above or below it."""
        ...

    def unfinished(self) -> list[BatchRow]:
        """Return all batches that are not in a terminal state, oldest first."""
        ...

    def batches(
        self,
        *,
        state: str | None = None,
        municipality: str | None = None,
        owner: str | None = None,
        after: int | None = None,
        limit: int = 100,
    ) -> list[BatchRow]:
        """Return a page of batches, newest first, with numbers below `after`."""
        ...

    def images(self, batch: int, *, state: str | None = None, after: int = -1, limit: int = 1000) -> list[ImageRow]:
        """Return a page of images by number, with numbers above `after`."""
        ...

    def every_image(self, batch: int) -> Iterator[ImageRow]:
        """Yield all images of a batch by number, in constant memory."""
        ...

    def opened(self, batch: int, wanted: Collection[int]) -> list[tuple[ImageRow, list[Leaf]]]:
        """Return those of these images that exist, with their recorded leaves."""
        ...

    def leaves(self, batch: int) -> list[Leaf]:
        """Return all recorded leaves of a batch, which are those of open images."""
        ...

    def doubled_stems(self, batch: int, limit: int) -> list[tuple[ImageRow, ImageRow]]:
        """Return the first two images of each stem that several images of a batch share, at most `limit` pairs."""
        ...

    def service_times(self) -> list[ServiceTimeRow]:
        """Return what is kept of service times, newest first."""
        ...

    def forecasts(self, limit: int | None = None) -> list[ForecastRow]:
        """Return what is kept of forecasts, batches that have not ended first, then the last ended."""
        ...

    def audit(
        self, *, owner: str | None = None, batch: str | None = None, after: int | None = None, limit: int = 100
    ) -> list[tuple[int, AuditEntry]]:
        """Return a page of the audit trail, newest first, with numbers below `after`; each entry with its number."""
        ...

    def states(self) -> dict[str, int]:
        """Return the number of batches by state."""
        ...

    def close(self) -> None:
        """Close all connections."""
        ...
