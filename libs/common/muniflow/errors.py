"""What can go wrong, by what happens next.

The type of an error decides what happens to the work (see `muniflow.model.settlement`): `Rejected` is permanent,
`Unavailable` is retried with backoff.
"""

from dataclasses import dataclass

from muniflow.reason_codes import ReasonCode, RefusalCode


class MuniflowError(Exception):
    """Base of every error that muniflow raises on purpose."""


class Rejected(MuniflowError):
    """Permanent: the same input fails again. The work is settled as failed with this text as its reason."""

    reason_code: ReasonCode = "refused"
    """Why, for programs."""

    def __init__(self, text: str, *, reason_code: ReasonCode | None = None) -> None:
        """Say why, for people; with `reason_code`, for programs, too."""
        super().__init__(text)
        if reason_code is not None:
            self.reason_code = reason_code


class NotFound(Rejected):
    """Permanent: a blob that the work needs is not in the store, or not all of it."""

    reason_code = "source_missing"


class Unavailable(MuniflowError):
    """Transient: a part that the work needs is away. The work is retried with backoff."""

    def __init__(self, what: str, reason: str = "") -> None:
        """Name the part that is away (`"blob store"`), and why if that is known."""
        super().__init__(f"{what} is unavailable: {reason}" if reason else f"{what} is unavailable")
        self.what = what


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong in a document."""

    place: str
    """Where, in the user's words: `operations[1].width`."""
    problem: str
    """What is wrong and what is allowed."""
    reason_code: RefusalCode | None = None
    """Why, for programs, where it is no mistake but too much."""

    def __str__(self) -> str:
        """One line: place, colon, problem."""
        return f"{self.place}: {self.problem}" if self.place else self.problem


class Invalid(Rejected):
    """A document with faults; every one of them is named."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        """Keep all faults; the message is one line for each."""
        super().__init__("\n".join(str(fault) for fault in faults))
        self.faults = faults
