"""Background work without threads, for tests and simulations: each piece is a callback of the loop."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from muniflow.runtime.executor import Turn
from muniflow.runtime.loop import Loop

T = TypeVar("T")


class InlineExecutor:
    """An `Executor` that runs each piece of work on the loop, in order."""

    def __init__(self, loop: Loop, _name: str = "", _threads: int = 1) -> None:
        """Run on `loop`; the other arguments are those of `ThreadExecutor.of`."""
        self._loop = loop
        self._stopped = False

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped

    def submit(self, work: Callable[[], T], on_done: Callable[[Future[T]], None]) -> None:
        """Call `work()` soon, and `on_done` right after it; after `stop`, neither."""

        def run() -> None:
            if not self._stopped:
                on_done(outcome(work))

        self._loop.add_callback_threadsafe(run)

    def stop(self) -> None:
        """Start no more work."""
        self._stopped = True


class InlineRepeater:
    """A `Repeater` whose pauses are timers of the loop."""

    def __init__(self, loop: Loop) -> None:
        """Repeat on `loop`."""
        self._loop = loop
        self._turn: Turn = lambda: None
        self._timer: Any = None

    def start(self, turn: Turn) -> None:
        """Call `turn` soon, and again after each pause that it returns."""
        self._turn = turn
        self._timer = self._loop.call_later(0, self._run)

    def wake(self) -> None:
        """End the present pause now."""
        if self._timer is not None:
            self._loop.remove_timeout(self._timer)
            self._timer = self._loop.call_later(0, self._run)

    def stop(self) -> bool:
        """Make no further call."""
        if self._timer is not None:
            self._loop.remove_timeout(self._timer)
            self._timer = None
        return True

    def _run(self) -> None:
        own = self._timer
        pause_s = self._turn()
        if self._timer is own:  # else the turn itself called `stop` or `wake`
            self._timer = None if pause_s is None else self._loop.call_later(pause_s, self._run)


def outcome(work: Callable[[], T]) -> Future[T]:
    """Call `work()`; returns its result or error as a finished future."""
    future: Future[T] = Future()
    try:
        future.set_result(work())
    except Exception as error:  # noqa: BLE001 - whatever it is, the caller's `result()` raises it
        future.set_exception(error)
    return future
