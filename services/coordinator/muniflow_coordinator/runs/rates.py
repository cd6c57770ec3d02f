"""Rates: sums over a sliding window, and only over the time in which there was work."""

from collections import deque

from muniflow.runtime.clock import Clock

WINDOW_S = 60.0
_BUCKET_S = 1.0
PAUSE_S = 5.0
PAUSE_GAPS = 10.0
"""No amount for `PAUSE_S`, and for so many times as long as usual: nothing was there to do. Slow tasks are no pause."""


class Rate:
    """The sum of amounts per second over the last minute, or since the last pause if that is less.

    An amount is what was done since the one before it. So the first one after a pause begins the observation and does
    not count: nobody knows how long it took.
    """

    def __init__(self, clock: Clock) -> None:
        """Begin before the first amount."""
        self._clock = clock
        self._buckets: deque[tuple[float, float]] = deque()
        self._since: float | None = None
        self._last = 0.0
        self._counted = 0
        """Amounts since then."""

    def add(self, amount: float) -> None:
        """Count `amount` now."""
        now = self._clock.monotonic_s()
        if self._since is None or now - self._last > self._longest_gap_s():
            self._since, self._counted = now, 0
            self._buckets.clear()
        else:
            self._counted += 1
            if self._buckets and now - self._buckets[-1][0] < _BUCKET_S:
                began, before = self._buckets[-1]
                self._buckets[-1] = (began, before + amount)
            else:
                self._buckets.append((now, amount))
        self._last = now
        self._forget(now)

    def per_s(self) -> float | None:
        """Return the amount per second; `None` while there is no more than one amount. From any thread."""
        since = self._since
        if since is None or not self._counted:
            return None
        now = self._clock.monotonic_s()
        total = sum(amount for at, amount in list(self._buckets) if now - at <= WINDOW_S)
        return total / max(min(now - since, WINDOW_S), _BUCKET_S)

    def _longest_gap_s(self) -> float:
        """Return how long work may take until its next amount."""
        if self._since is None or not self._counted:
            return WINDOW_S
        return max(PAUSE_S, PAUSE_GAPS * (self._last - self._since) / self._counted)

    def _forget(self, now: float) -> None:
        while self._buckets and now - self._buckets[0][0] > WINDOW_S:
            self._buckets.popleft()


class StepRates:
    """Tasks and compute time of each operation over the last minute."""

    def __init__(self, clock: Clock) -> None:
        """Begin without any operation."""
        self._clock = clock
        self._tasks: dict[str, Rate] = {}
        self._compute: dict[str, Rate] = {}

    def add(self, operation: str, tasks: int, compute_s: float) -> None:
        """Add tasks and their compute time, in seconds."""
        self._tasks.setdefault(operation, Rate(self._clock)).add(tasks)
        self._compute.setdefault(operation, Rate(self._clock)).add(compute_s)

    def of(self, operation: str) -> tuple[float | None, float | None]:
        """Return tasks per second and the mean compute time of a task in seconds; `None` if not known."""
        tasks, compute = self._tasks.get(operation), self._compute.get(operation)
        rate = None if tasks is None else tasks.per_s()
        spent = None if compute is None else compute.per_s()
        return rate, (spent / rate if rate and spent is not None else None)
