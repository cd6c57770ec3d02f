"""The interface of the leader lock: the one coordinator that holds it works."""

from typing import Protocol


class Lock(Protocol):
    """A lock that at most one process holds. One thread at a time calls it; every call returns within seconds.

    It makes two leaders at a time unlikely and short. The epoch in the database makes them harmless.
    """

    poll_s: float
    """Pause between attempts to get it, in seconds."""
    renew_s: float
    """Pause between renewals by its holder, in seconds."""
    valid_s: float
    """How long it is certainly held after a renewal, in seconds; a holder without a renewal must stop working then."""

    @property
    def holder(self) -> str | None:
        """Return the holder, if known."""
        ...

    def acquire(self) -> bool:
        """Try to get it, without waiting for the holder.

        Raises:
            Unavailable: the holder cannot be determined.
        """
        ...

    def renew(self) -> bool:
        """Return whether it is still held.

        Raises:
            Unavailable: that is not known now; it is held until `valid_s` after the last success.
        """
        ...

    def release(self) -> None:
        """Release it soon. Raises nothing: a lock that cannot be released expires."""
        ...
