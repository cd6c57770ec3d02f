"""The one event loop of a process: pika's own, which also watches files and timers, with or without a broker."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol


class Loop(Protocol):
    """The part of `pika.adapters.select_connection.IOLoop` that muniflow uses; single-threaded."""

    @property
    def READ(self) -> int: ...  # noqa: N802, D102
    @property
    def WRITE(self) -> int: ...  # noqa: N802, D102
    @property
    def ERROR(self) -> int: ...  # noqa: N802, D102

    def add_handler(self, fd: int, handler: Callable[[int, int], None], events: int) -> None:
        """Call `handler(fd, events)` when `fd` is ready."""
        ...

    def update_handler(self, fd: int, events: int) -> None:
        """Change what is watched for."""
        ...

    def remove_handler(self, fd: int) -> None:
        """Watch no more."""
        ...

    def call_later(self, delay: float, callback: Callable[[], None]) -> Any:
        """Call once after `delay` seconds; returns a handle for `remove_timeout`."""
        ...

    def remove_timeout(self, timeout_handle: Any) -> None:
        """Forget a timer."""
        ...

    def add_callback_threadsafe(self, callback: Callable[[], None]) -> None:
        """Call soon; the only method that other threads and signal handlers may call."""
        ...

    def start(self) -> None:
        """Run until `stop`."""
        ...

    def stop(self) -> None:
        """Make `start` return."""
        ...

    def close(self) -> None:
        """Give back what the loop itself holds; after `start` returned."""
        ...


@dataclass(eq=False)
class Every:
    """Calls `turn` every `pause_s` seconds, from `start` until `stop`."""

    loop: Loop
    pause_s: float
    turn: Callable[[], None]
    stopped: bool = field(init=False, default=False)

    def start(self) -> None:
        """Call for the first time after a pause."""
        self.loop.call_later(self.pause_s, self._on_timer)

    def stop(self) -> None:
        """Call no more."""
        self.stopped = True

    def _on_timer(self) -> None:
        if not self.stopped:
            self.turn()
            self.start()


def new_loop() -> Loop:
    """A fresh event loop."""
    from pika.adapters.select_connection import IOLoop

    return IOLoop()
