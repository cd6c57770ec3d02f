"""The interface of a claim to be the one coordinator that works."""

from typing import Protocol

from muniflow.errors import MuniflowError


class Deposed(MuniflowError):
    """This process is not the one that works any more: it stops at once and stands by."""


class Lock(Protocol):
    """Something that at most one process has at a time. One thread calls it; every call returns within seconds.

    It makes two coordinators at a time unlikely and short. What makes them harmless is the epoch in the database.
    """

    poll_s: float
    """How often who waits tries again."""
    renew_s: float
    """How often who has it looks whether it still has it."""
    valid_s: float
    """How long it is surely had after a successful look; who has heard nothing for longer must stop working."""

    @property
    def holder(self) -> str | None:
        """Who has it, as far as that is known."""
        ...

    def acquire(self) -> bool:
        """Try to get it, without waiting for others.

        Raises:
            Unavailable: nobody can say who has it.
        """
        ...

    def renew(self) -> bool:
        """Whether it is still had.

        Raises:
            Unavailable: that is not known now; it is still had for `valid_s` after the last success.
        """
        ...

    def release(self) -> None:
        """Let another one have it soon. Raises nothing: what cannot be released runs out."""
        ...
