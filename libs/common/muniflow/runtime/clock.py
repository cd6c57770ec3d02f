"""The clock of a process. Code that needs the time gets a `Clock`, so that tests and simulations can replace it."""

import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time; every method may be called from any thread."""

    def now_s(self) -> float:
        """Return Unix time, in seconds: for people and for other processes."""
        ...

    def monotonic_s(self) -> float:
        """Return seconds since an arbitrary moment, never backwards: for durations."""
        ...


class SystemClock:
    """The operating system's clock."""

    def now_s(self) -> float:
        """Return Unix time, in seconds."""
        return time.time()

    def monotonic_s(self) -> float:
        """Return seconds since an arbitrary moment."""
        return time.monotonic()


SYSTEM_CLOCK: Clock = SystemClock()
