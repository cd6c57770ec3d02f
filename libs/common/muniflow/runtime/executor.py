"""Work that blocks, beside the loop: pieces of work whose results come back on the loop, and functions that repeat."""

import concurrent.futures
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol, Self, TypeVar

from muniflow.runtime.loop import Loop

T = TypeVar("T")
STOP_TIMEOUT_S = 10.0


class Executor(Protocol):
    """Runs pieces of work beside the loop. All methods are called on the loop; `stopped` from any thread."""

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called. Long work checks it and ends early."""
        ...

    def submit(self, work: Callable[[], T], on_done: Callable[[Future[T]], None]) -> None:
        """Call `work()` soon, then `on_done` on the loop with the finished future; after `stop`, neither."""
        ...

    def stop(self) -> None:
        """Start no more work, wait for what runs, and drop its results."""
        ...


NewExecutor = Callable[[str, int], Executor]
"""`(name, threads)` to a new executor that runs up to `threads` pieces of work at a time."""


class DetachedThreads(concurrent.futures.Executor):
    """A thread for each piece of work, which nobody waits for: neither a stop nor the end of the process.

    For work that may hang outside of this machine; whoever uses it bounds the number of pieces.
    """

    def __init__(self, name: str) -> None:
        """Give all threads this name."""
        self._name = name

    def submit(self, work: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Call `work` in a thread."""
        future: Future[T] = Future()
        call = partial(work, *args, **kwargs)
        threading.Thread(target=_call, args=(call, future), name=self._name, daemon=True).start()
        return future


def _call(work: Callable[[], T], future: Future[T]) -> None:
    try:
        future.set_result(work())
    except BaseException as error:  # noqa: BLE001 - it is the result
        future.set_exception(error)


class ThreadExecutor:
    """An `Executor` over threads."""

    def __init__(self, loop: Loop, threads: concurrent.futures.Executor) -> None:
        """Deliver results on `loop`; take over `threads`."""
        self._loop = loop
        self._threads = threads
        self._stopped = False

    @classmethod
    def of(cls, loop: Loop, name: str, threads: int) -> Self:
        """A pool of so many threads; `name` begins their names."""
        return cls(loop, ThreadPoolExecutor(threads, name))

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped

    def submit(self, work: Callable[[], T], on_done: Callable[[Future[T]], None]) -> None:
        """Call `work()` in a thread, then `on_done` on the loop; after `stop`, not."""
        if not self._stopped:
            self._threads.submit(work).add_done_callback(partial(self._finished, on_done))

    def stop(self) -> None:
        """Start no more work, wait for what runs if the threads do so, and drop its results."""
        self._stopped = True
        self._threads.shutdown(cancel_futures=True)

    def _finished(self, on_done: Callable[[Future[T]], None], future: Future[T]) -> None:
        if not self._stopped:
            self._loop.add_callback_threadsafe(lambda: None if self._stopped else on_done(future))


Turn = Callable[[], float | None]
"""Does its work once; returns the pause until the next call in seconds, or `None` to end."""


class Repeater(Protocol):
    """Calls one function again and again, beside the loop and whether or not the loop turns."""

    def start(self, turn: Turn) -> None:
        """Call `turn` now, and again after each pause that it returns."""
        ...

    def wake(self) -> None:
        """End the present pause now. From any thread."""
        ...

    def stop(self) -> bool:
        """Make no further call; returns whether the last one has returned (within `STOP_TIMEOUT_S`)."""
        ...


class ThreadRepeater:
    """A `Repeater` with a thread of its own."""

    def __init__(self, name: str) -> None:
        """Name the thread; `start` starts it."""
        self._name = name
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._wake = threading.Event()

    def start(self, turn: Turn) -> None:
        """Call `turn` now, and again after each pause that it returns."""
        self._thread = threading.Thread(target=self._serve, args=(turn,), name=self._name, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """End the present pause now."""
        self._wake.set()

    def stop(self) -> bool:
        """Make no further call; returns whether the last one has returned (within `STOP_TIMEOUT_S`)."""
        self._stopping = True
        self._wake.set()
        if self._thread is None:
            return True
        self._thread.join(STOP_TIMEOUT_S)
        return not self._thread.is_alive()

    def _serve(self, turn: Turn) -> None:
        while not self._stopping and (pause_s := turn()) is not None:
            self._wake.wait(pause_s)
            self._wake.clear()
