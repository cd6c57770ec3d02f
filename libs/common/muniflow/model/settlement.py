"""What happens to a task, decided as data; the worker carries it out."""

import zlib
from dataclasses import dataclass, field

from muniflow.errors import Rejected, Unavailable
from muniflow.model.topology import DELAYS_S, delay_lanes
from muniflow.reason_codes import REASONS, FailKind, ReasonCode

MAX_ATTEMPTS = 12
"""About 20 minutes of a part being away: 5 s, 30 s, then 120 s each."""
MAX_REASON_CHARS = 500
"""Characters kept of one reason."""


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
    """For people."""
    code: ReasonCode = field(default="internal_error", compare=False)
    """For programs."""

    @property
    def kind(self) -> FailKind:
        """For counting."""
        return REASONS[self.code].kind


Disposition = Done | Retry | Fail


def settle(error: Exception | None, attempt: int, max_attempts: int = MAX_ATTEMPTS) -> Disposition:
    """Decide what happens to a task from its error and its 1-based attempt.

    An error of no known kind is a bug of ours and permanent: retrying would only repeat it.
    """
    match error:
        case None:
            return Done()
        case Unavailable() if attempt < max_attempts:
            return Retry(DELAYS_S[min(attempt, len(DELAYS_S)) - 1], str(error), error.what)
        case Unavailable():
            return Fail(f"gave up after {attempt} attempts: {error}", "part_away")
        case Rejected():
            return Fail(str(error), error.reason_code)
        case MemoryError():
            text = "the image needs more memory than a compute child may use (MUNIFLOW_MEMORY_LIMIT_MB)"
            return Fail(text, "out_of_memory")
        case _:
            return Fail(f"internal error: {type(error).__name__}: {error}", "internal_error")


def shorten(reason: str) -> str:
    """A reason that fits a header and a table."""
    return reason if len(reason) <= MAX_REASON_CHARS else f"{reason[: MAX_REASON_CHARS - 1]}…"


def jittered(delay_s: int, name: str) -> int:
    """The wait of one attempt of one task, in seconds: one of `delay_lanes(delay_s)`.

    Tasks that failed together come back spread out, so that a part that has just recovered does not get all of them at
    once. The same name gives the same wait, so that a run can be repeated.

    Args:
        delay_s: one of `DELAYS_S`.
        name: of the task and its attempt; other names are dealt out evenly.
    """
    lanes = delay_lanes(delay_s)
    return lanes[zlib.crc32(name.encode()) % len(lanes)]
