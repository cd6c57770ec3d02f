"""Rates: sums over a sliding window, and only over the time in which there was work."""

from collections import deque

from muniflow.runtime.clock import Clock

WINDOW_S = 60.0
_BUCKET_S = 1.0
PAUSE_S = 5.0
PAUSE_GAPS = 10.0
"""No amount for `PAUSE_S`, and for so many times as long as usual: nothing was there to do. Slow tasks are no pause."""
_TOGETHER_S = 0.25
"""What comes within this time is of one moment: a report of several stages, or several reports in one transaction."""


class Activity:
    """When something was done: since the last pause, and the last time."""

    def __init__(self, clock: Clock) -> None:
        """Begin before anything was done."""
        self._clock = clock
        self._last = 0.0
        self._counted, self._counted_at = 0, 0.0
        """Moments in which something was done since then; the last of them."""
        self.since: float | None = None
        """The end of the last pause."""

    def mark(self, now: float) -> None:
        """Something was done now."""
        if self.since is None or now - self._last > self._longest_gap_s():
            self.since, self._counted, self._counted_at = now, 0, now
        elif now - self._counted_at >= _TOGETHER_S:
            self._counted, self._counted_at = self._counted + 1, now
        self._last = now

    def paused_s(self) -> float | None:
        """Return for how long nothing was done, if that is longer than usual. From any thread."""
        quiet_s = self._clock.monotonic_s() - self._last
        return quiet_s if self.since is not None and self._counted and quiet_s > self._longest_gap_s() else None

    def _longest_gap_s(self) -> float:
        """Return how long work may take until it shows again."""
        if self.since is None or not self._counted:
            return WINDOW_S
        return max(PAUSE_S, PAUSE_GAPS * (self._last - self.since) / self._counted)


class Rate:
    """The sum of amounts per second over the last minute, or since the last pause if that is less; 0 in a pause.

    An amount is what was done since the one before it. So the first one after a pause begins the observation and does
    not count: nobody knows how long it took.
    """

    def __init__(self, clock: Clock, activity: Activity | None = None) -> None:
        """Begin before the first amount. Pauses are those of `activity`, its own if not given."""
        self._clock = clock
        self._activity = activity or Activity(clock)
        self._buckets: deque[tuple[float, float]] = deque()
        self._since: float | None = None
        self._last = 0.0
        self._counted = 0
        """Amounts since then."""

    def add(self, amount: float) -> None:
        """Count `amount` now."""
        now = self._clock.monotonic_s()
        self._activity.mark(now)
        last, self._last = self._last, now
        if not self._observes() or now - last > WINDOW_S:
            self._since, self._counted = now, 0
            self._buckets.clear()
            return
        self._counted += 1
        if self._buckets and now - self._buckets[-1][0] < _BUCKET_S:
            began, before = self._buckets[-1]
            self._buckets[-1] = (began, before + amount)
        else:
            self._buckets.append((now, amount))
        while now - self._buckets[0][0] > WINDOW_S:
            self._buckets.popleft()

    def per_s(self) -> float | None:
        """Return the amount per second; `None` while there is no more than one amount. From any thread."""
        since, now = self._since, self._clock.monotonic_s()
        if since is None:
            return None
        if self.paused_s() is not None or not self._observes():
            return 0.0
        if not self._counted:
            return None
        total = sum(amount for at, amount in list(self._buckets) if now - at <= WINDOW_S)
        return total / max(min(now - since, WINDOW_S), _BUCKET_S)

    def paused_s(self) -> float | None:
        """Return for how long there was no amount, if that is longer than usual. From any thread."""
        return self._activity.paused_s()

    def _observes(self) -> bool:
        """Return whether there was an amount since the last pause."""
        began = self._activity.since
        return self._since is not None and began is not None and self._since >= began


class StepRates:
    """Tasks and compute time of each operation over the last minute.

    A stage works in bursts while a later one is slower, and its batch goes on meanwhile. So a pause is one of all
    stages together, as it is for the rate of a batch: the two agree.
    """

    def __init__(self, clock: Clock) -> None:
        """Begin without any operation."""
        self._clock = clock
        self._activity = Activity(clock)
        self._tasks: dict[str, Rate] = {}
        self._compute: dict[str, Rate] = {}

    def add(self, operation: str, tasks: int, compute_s: float) -> None:
        """Add tasks and their compute time, in seconds."""
        for rates, amount in ((self._tasks, tasks), (self._compute, compute_s)):
            rates.setdefault(operation, Rate(self._clock, self._activity)).add(amount)

    def of(self, operation: str) -> tuple[float | None, float | None]:
        """Return tasks per second and the mean compute time of a task in seconds; `None` if not known."""
        tasks, compute = self._tasks.get(operation), self._compute.get(operation)
        rate = None if tasks is None else tasks.per_s()
        spent = None if compute is None else compute.per_s()
        return rate, (spent / rate if rate and spent is not None else None)
