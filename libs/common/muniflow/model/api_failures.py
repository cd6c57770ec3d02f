"""What the coordinator answers about failures: failed images, letters, rejected batches.

| path | answer |
| --- | --- |
| `/v1/failures?owner=&batch=&operation=&reason_code=&after=&limit=` | `FailureList` |
| `/v1/failures/counts?owner=&batch=&operation=&reason_code=` | `FailureCounts` |
| `/v1/letters?queue=&after=&limit=`, `/v1/letters/<number>` | `LetterList`, `StrayLetter` |
| `/v1/rejections?owner=&batch=&municipality=&after=&limit=` | `RejectionList`, newest first |
"""

from typing import Any

from muniflow.model.api import Answer
from muniflow.model.owners import DEFAULT_OWNER

FAILURES = "/v1/failures"
FAILURE_COUNTS = f"{FAILURES}/counts"
LETTERS = "/v1/letters"
REJECTIONS = "/v1/rejections"
MAX_REJECTIONS = 100
"""Of one page: each may have many faults."""


class Failure(Answer):
    """A failed image."""

    batch_id: str
    image: int
    """Its place in the batch."""
    source: str
    operation: str
    """The one at which it failed; empty: an earlier build recorded it."""
    reason_code: str
    reasons: tuple[str, ...] = ()
    failed_at: float | None = None
    """Unix time, seconds; `None`: an earlier build recorded it."""


class FailureList(Answer):
    """A page of failures: by batch, oldest first, then by reason code, operation and image."""

    failures: tuple[Failure, ...]
    next: str | None = None
    """Give it as `after` for the next page."""


class FailureCount(Answer):
    """How many images of a batch failed at one operation for one reason."""

    batch_id: str
    reason_code: str
    operation: str
    images: int


class FailureCounts(Answer):
    """All failures, counted."""

    groups: tuple[FailureCount, ...]


class StrayLetter(Answer):
    """A dead letter that is no task of a batch that the ledger knows."""

    number: int
    queue: str
    """The dead-letter queue that it was in."""
    batch_id: str | None = None
    """Of a task of a batch that the ledger does not know."""
    reason: str
    at: float
    """Unix time, seconds."""
    bytes: int
    message: Any = None
    """Only where one letter is asked for."""


class LetterList(Answer):
    """A page of letters, oldest first."""

    letters: tuple[StrayLetter, ...]
    next: str | None = None


class FaultEntry(Answer):
    """One thing that is wrong in a document."""

    place: str
    problem: str
    reason_code: str | None = None
    """Where it is no mistake but too much: one of `muniflow.reason_codes.REFUSALS`."""


class Rejection(Answer):
    """A batch that was refused."""

    batch_id: str
    """The id that its document claims; may be empty."""
    owner: str = DEFAULT_OWNER
    """Who sent it."""
    name: str = ""
    """What its document says that people call it."""
    municipality: str = ""
    at: float
    """Unix time, seconds."""
    faults: tuple[FaultEntry, ...]
    """All of them, 10,000 at most."""


class RejectionList(Answer):
    """A page of rejections, newest first."""

    rejections: tuple[Rejection, ...]
    next: str | None = None
    """Give it as `after` for the next page."""
