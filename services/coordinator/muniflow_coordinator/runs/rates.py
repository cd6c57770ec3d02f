"""How fast things go: sums over a sliding window."""

import time
from collections import deque
from collections.abc import Callable

WINDOW_S = 60.0
_BUCKET_S = 1.0


class Rate:
    """The sum of amounts per second over the last minute, or since the first amount when that is less."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Measure with `clock`, in seconds."""
        self._clock = clock
        self._buckets: deque[tuple[float, float]] = deque()
        self._since: float | None = None

    def add(self, amount: float) -> None:
        """Count `amount` now."""
        now = self._clock()
        if self._since is None:
            self._since = now
        if self._buckets and now - self._buckets[-1][0] < _BUCKET_S:
            began, before = self._buckets[-1]
            self._buckets[-1] = (began, before + amount)
        else:
            self._buckets.append((now, amount))
        self._forget(now)

    def per_s(self) -> float | None:
        """Amount per second; `None` before the first amount. May be called from any thread."""
        if self._since is None:
            return None
        now = self._clock()
        total = sum(amount for at, amount in list(self._buckets) if now - at <= WINDOW_S)
        return total / max(min(now - self._since, WINDOW_S), _BUCKET_S)

    def _forget(self, now: float) -> None:
        while self._buckets and now - self._buckets[0][0] > WINDOW_S:
            self._buckets.popleft()


class StepRates:
    """Tasks and compute time of each operation over the last minute."""

    def __init__(self) -> None:
        """Start with none."""
        self._tasks: dict[str, Rate] = {}
        self._compute: dict[str, Rate] = {}

    def add(self, operation: str, tasks: int, compute_s: float) -> None:
        """Count what a worker did."""
        self._tasks.setdefault(operation, Rate()).add(tasks)
        self._compute.setdefault(operation, Rate()).add(compute_s)

    def of(self, operation: str) -> tuple[float | None, float | None]:
        """Tasks per second, and mean compute time of one in seconds; `None` where nothing is known."""
        tasks, compute = self._tasks.get(operation), self._compute.get(operation)
        rate = None if tasks is None else tasks.per_s()
        spent = None if compute is None else compute.per_s()
        return rate, (spent / rate if rate and spent is not None else None)
