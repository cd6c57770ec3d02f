"""A loop in virtual time: nothing waits, and timers run in the order in which they are due."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any

START_S = 1_700_000_000.0


class VirtualClock:
    """A `Clock` that stands still until somebody advances it."""

    def __init__(self, start_s: float = START_S) -> None:
        """Start at the Unix time `start_s`; the monotonic time starts at 0."""
        self._start_s = start_s
        self._passed_s = 0.0

    def now_s(self) -> float:
        """Return Unix time, in seconds."""
        return self._start_s + self._passed_s

    def monotonic_s(self) -> float:
        """Return the seconds since the start."""
        return self._passed_s

    def advance_to(self, monotonic_s: float) -> None:
        """Let time pass until this moment; an earlier one changes nothing."""
        self._passed_s = max(self._passed_s, monotonic_s)


@dataclass(order=True, slots=True)
class _Timer:
    due_s: float
    number: int
    callback: Callable[[], None] | None = field(compare=False)


class NoFiles:
    """The part of a `Loop` that watches files, where there are none."""

    READ, WRITE, ERROR = 1, 4, 8

    def add_handler(self, fd: int, handler: Callable[[int, int], None], events: int) -> None:
        """Refuse: files live in real time."""
        raise NotImplementedError

    def update_handler(self, fd: int, events: int) -> None:
        """Refuse: files live in real time."""
        raise NotImplementedError

    def remove_handler(self, fd: int) -> None:
        """Refuse: files live in real time."""
        raise NotImplementedError


class VirtualLoop(NoFiles):
    """A `Loop` that advances its clock to the next timer whenever nothing else is left to do. It watches no files."""

    def __init__(self, clock: VirtualClock) -> None:
        """Run timers by `clock`, and advance it."""
        self._clock = clock
        self._ready: deque[Callable[[], None]] = deque()
        self._timers: list[_Timer] = []
        self._count = 0
        self._running = False

    def call_later(self, delay: float, callback: Callable[[], None]) -> Any:
        """Call once after `delay` seconds of virtual time."""
        self._count += 1
        timer = _Timer(self._clock.monotonic_s() + delay, self._count, callback)
        heappush(self._timers, timer)
        return timer

    def remove_timeout(self, timeout_handle: Any) -> None:
        """Forget a timer."""
        timeout_handle.callback = None

    def add_callback_threadsafe(self, callback: Callable[[], None]) -> None:
        """Call soon, after what waits already."""
        self._ready.append(callback)

    def start(self) -> None:
        """Run until `stop`, or until nothing is left to do."""
        self._running = True
        while self._running and (callback := self._next()) is not None:
            callback()

    def stop(self) -> None:
        """Make `start` return."""
        self._running = False

    def close(self) -> None:
        """Forget everything."""
        self._ready.clear()
        self._timers.clear()

    def _next(self) -> Callable[[], None] | None:
        if self._ready:
            return self._ready.popleft()
        while self._timers:
            timer = heappop(self._timers)
            if timer.callback is not None:
                self._clock.advance_to(timer.due_s)
                return timer.callback
        return None
