"""The fate of a task, decided as data; the worker carries it out."""

import zlib
from dataclasses import dataclass, field
from typing import Literal

from muniflow.errors import NotFound, Rejected, Unavailable
from muniflow.model.topology import DELAYS_S, delay_lanes

MAX_ATTEMPTS = 12
"""About 20 minutes of a part being away: 5 s, 30 s, then 120 s each."""
MAX_REASON_CHARS = 500
"""Characters kept of one reason."""

FailKind = Literal["rejected", "missing", "away", "memory", "timeout", "crash", "bug"]
"""Why a task failed, for counting: the reason itself is a text for people."""


@dataclass(frozen=True)
class Done:
    """Publish what follows, then ack."""


@dataclass(frozen=True)
class Retry:
    """Publish the task again through a delay queue of about `delay_s` (see `jittered`), then ack."""

    delay_s: int
    reason: str
    what: str = field(default="", compare=False)
    """The part that is away, for counting."""


@dataclass(frozen=True)
class Fail:
    """Settle as failed, keep the task in the dead-letter queue, then ack."""

    reason: str
    kind: FailKind = field(default="bug", compare=False)


Disposition = Done | Retry | Fail


def settle(error: Exception | None, attempt: int, max_attempts: int = MAX_ATTEMPTS) -> Disposition:
    """Decide the fate of a task from its error and its 1-based attempt.

    An error of no known kind is a bug of ours and permanent: retrying would only repeat it.
    """
    match error:
        case None:
            return Done()
        case Unavailable() if attempt < max_attempts:
            return Retry(DELAYS_S[min(attempt, len(DELAYS_S)) - 1], str(error), error.what)
        case Unavailable():
            return Fail(f"gave up after {attempt} attempts: {error}", "away")
        case NotFound():
            return Fail(str(error), "missing")
        case Rejected():
            return Fail(str(error), "rejected")
        case MemoryError():
            return Fail("the image needs more memory than a compute child may use", "memory")
        case _:
            return Fail(f"internal error: {type(error).__name__}: {error}", "bug")


def shorten(reason: str) -> str:
    """A reason that fits a header and a table."""
    return reason if len(reason) <= MAX_REASON_CHARS else f"{reason[: MAX_REASON_CHARS - 1]}…"


def jittered(delay_s: int, name: str) -> int:
    """The wait of one attempt of one task, in seconds: one of `delay_lanes(delay_s)`.

    What failed together comes back in parts, so that a part that has just come back is not met by all of them at once.
    The same name gives the same wait: no dice, so that a run can be repeated.

    Args:
        delay_s: one of `DELAYS_S`.
        name: of the task and its attempt; other names are dealt out evenly.
    """
    lanes = delay_lanes(delay_s)
    return lanes[zlib.crc32(name.encode()) % len(lanes)]
