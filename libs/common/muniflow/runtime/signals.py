"""Signals as events of the loop."""

import contextlib
import signal
import socket
from collections.abc import Callable, Iterator, Sequence

from muniflow.runtime.loop import Loop

READ_BYTES = 512


@contextlib.contextmanager
def signals_on(loop: Loop, numbers: Sequence[int], callback: Callable[[], None]) -> Iterator[None]:
    """Call `callback` on the loop once for each of these signals, while the block runs; main thread only.

    The interpreter itself writes a byte for each signal. A handler in Python that wakes the loop could interrupt it
    while it holds the lock of the wake-up, and wait for itself for ever.
    """
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)

    def on_readable(_fd: int, _events: int) -> None:
        for number in reader.recv(READ_BYTES):
            if number in numbers:
                callback()

    previous_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    previous = {number: signal.signal(number, lambda *_: None) for number in numbers}
    loop.add_handler(reader.fileno(), on_readable, loop.READ)
    try:
        with reader, writer:
            yield
            loop.remove_handler(reader.fileno())
    finally:
        signal.set_wakeup_fd(previous_fd)
        for number, handler in previous.items():
            signal.signal(number, handler)
