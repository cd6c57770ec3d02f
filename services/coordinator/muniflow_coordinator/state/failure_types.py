"""The part of the state store about failures: failed images, and letters that are no task of a known batch."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from muniflow.errors import Fault
from muniflow.model.owners import DEFAULT_OWNER


class Chosen(NamedTuple):
    """Which failures are meant; `None` means any."""

    batch: int | None = None
    """The number of their batch."""
    operation: str | None = None
    reason_code: str | None = None
    image: int | None = None
    owner: str | None = None
    """Of their batches, where no batch is named."""


ANY = Chosen()


class Place(NamedTuple):
    """The place of a failure in the order in which failures are listed."""

    batch: int
    reason_code: str
    operation: str
    image: int


class FailureRow(NamedTuple):
    """A failed image."""

    place: Place
    batch_id: str
    spec: str
    """Of its batch."""
    stem: str
    suffix: str
    reasons: tuple[str, ...]
    failed_at: float | None
    """Unix time, seconds; `None`: an earlier build recorded it."""


class FailureGroup(NamedTuple):
    """How many images of a batch failed at one operation for one reason."""

    batch_id: str
    reason_code: str
    operation: str
    images: int


class NewLetter(NamedTuple):
    """A letter to keep."""

    digest: str
    """The same for each delivery of one message."""
    queue: str
    """The dead-letter queue that it was in."""
    batch: str | None
    """The batch that it names, if it is a task."""
    reason: str
    at: float
    """Unix time, seconds."""
    body: bytes


class LetterLimits(NamedTuple):
    """How many letters are kept of each dead-letter queue: the newest ones.

    Whoever may send messages can send ones that nobody reads; without a limit they fill the database.
    """

    max_letters: int = 100_000
    max_bytes: int = 256 << 20
    """Of all bodies together."""


class LetterRow(NamedTuple):
    """A letter that is kept."""

    number: int
    queue: str
    batch: str | None
    reason: str
    at: float
    body: bytes


class NewRejection(NamedTuple):
    """A batch that is refused."""

    batch: str
    """The id that its document claims; may be empty."""
    municipality: str
    message_id: str | None
    """Of its message: one that is delivered again is the same rejection."""
    at: float
    """Unix time, seconds."""
    faults: tuple[Fault, ...]
    owner: str = DEFAULT_OWNER
    """Who sent it."""
    name: str = ""
    """What its document says that people call it."""


class RejectionRow(NamedTuple):
    """A batch that was refused."""

    number: int
    batch: str
    municipality: str
    name: str
    at: float
    owner: str
    faults: tuple[Fault, ...]


class FailureState(Protocol):
    """Writers first, then readers, as in `types.State`."""

    def drop_failures(self, batch: int, within: range, chosen: Chosen) -> int:
        """List these failures of a range of images no more; returns how many. Their images stay failed."""
        ...

    def keep_letters(self, new: Sequence[NewLetter]) -> None:
        """Insert letters; those that are there already are not changed."""
        ...

    def trim_letters(self, limits: LetterLimits) -> int:
        """Delete the oldest letters, those beyond the limits of their queue; returns how many."""
        ...

    def drop_letter(self, number: int) -> None:
        """Delete a letter."""
        ...

    def keep_rejection(self, new: NewRejection) -> None:
        """Record a rejection; one that is there already stays."""
        ...

    def forget_before(self, at: float) -> None:
        """Delete rejections and letters from before this unix time."""
        ...

    def rejections(
        self,
        *,
        batch: str | None = None,
        municipality: str | None = None,
        owner: str | None = None,
        after: int | None = None,
        limit: int = 100,
    ) -> list[RejectionRow]:
        """Return a page of rejections, newest first, with numbers below `after`."""
        ...

    def failures(self, chosen: Chosen, *, after: Place | None = None, limit: int = 100) -> list[FailureRow]:
        """Return a page of failed images by place, those after `after`."""
        ...

    def failure_groups(self, chosen: Chosen) -> list[FailureGroup]:
        """Return how many images have failed, by batch, reason code and operation."""
        ...

    def letters(self, *, queue: str | None = None, after: int = 0, limit: int = 100) -> list[LetterRow]:
        """Return a page of letters by number, with numbers above `after`."""
        ...

    def letter_counts(self) -> dict[str, int]:
        """Return the number of letters by the dead-letter queue that they were in."""
        ...

    def letter(self, number: int) -> LetterRow | None:
        """Return a letter."""
        ...
