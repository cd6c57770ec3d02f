"""One compute child as its parent sees it: a non-blocking socket on the loop, and the shared cell.

It may have two assignments: while the outputs of one are synced to disk, and while its parent publishes what
follows from it, the other one is computed.
"""

import os
import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from muniflow.compute.frames import Decoder, FrameError, frame
from muniflow.compute.pending import Assignment
from muniflow.compute.shared_progress import NUMBERS, SharedProgress, new_progress_file
from muniflow.runtime.loop import Loop

_RECEIVE_BYTES = 256 * 1024


class AtWork(NamedTuple):
    """The task that a child works on."""

    assignment: Assignment
    place: int
    """Its place among the tasks of `assignment`."""
    seconds: float
    """How long it has taken."""


class ChildHandle:
    """A child, from the moment that it was asked for until it is known to be dead."""

    def __init__(
        self,
        loop: Loop,
        on_frame: Callable[["ChildHandle", list[bytes]], None],
        on_broken: Callable[["ChildHandle"], None],
    ) -> None:
        """`on_frame` takes a whole reply and may raise `FrameError`; `on_broken`: end this child, it talks no sense."""
        self.pid: int | None = None
        self.assignments: deque[Assignment] = deque()
        """What it has not replied to, in order."""
        self.kill_reason: str | None = None
        """Why we killed it, if a task is to blame."""
        self._loop = loop
        self._on_frame = on_frame
        self._on_broken = on_broken
        self._decoder = Decoder()
        self._output = memoryview(b"")
        self._given = 0
        self._last_s = time.monotonic()
        self._progress_file = new_progress_file()
        self.progress = SharedProgress(self._progress_file)
        self.progress.idle()
        self._socket, self._theirs = socket.socketpair()
        self._socket.setblocking(False)
        self._watched = True
        loop.add_handler(self._socket.fileno(), self._on_event, loop.READ)

    def give_to(self, fork: Callable[[int, int], None]) -> None:
        """Pass the child's ends of socket and cell to `fork`, once."""
        fork(self._theirs.fileno(), self._progress_file)
        self._close_theirs()

    def send(self, assignment: Assignment) -> None:
        """Give it tasks, behind the one that it may have."""
        if not self.assignments:
            self._last_s = time.monotonic()
        assignment.first = self._given
        self._given = (self._given + len(assignment.tasks)) % NUMBERS
        self.assignments.append(assignment)
        self._output = memoryview(bytes(self._output) + frame([task.body for task in assignment.tasks]))
        self._flush()

    def at_work(self) -> AtWork | None:
        """What it works on, if it does."""
        current = self.progress.current()
        if current is not None:
            for assignment in self.assignments:
                place = (current.number - assignment.first) % NUMBERS
                if place < len(assignment.tasks):
                    return AtWork(assignment, place, current.seconds)
        return None

    def silent_s(self) -> float:
        """Seconds since it was given something, or was last seen at a task."""
        if self.progress.current() is not None:
            self._last_s = time.monotonic()
        return time.monotonic() - self._last_s

    def read_rest(self) -> None:
        """Take what it had sent before it died."""
        while self._read():
            pass

    def close(self) -> None:
        """Forget it."""
        self._unwatch()
        self._socket.close()
        self._close_theirs()
        self.progress.close()

    def _close_theirs(self) -> None:
        if self._theirs.fileno() >= 0:
            self._theirs.close()
            os.close(self._progress_file)

    def _unwatch(self) -> None:
        if self._watched:
            self._watched = False
            self._loop.remove_handler(self._socket.fileno())

    def _on_event(self, _descriptor: int, events: int) -> None:
        if events & self._loop.WRITE:
            self._flush()
        if events & ~self._loop.WRITE:
            self._read()

    def _flush(self) -> None:
        with suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):  # its end is told by the fork server
            while self._output:
                self._output = self._output[self._socket.send(self._output) :]
        if self._watched:
            self._loop.update_handler(
                self._socket.fileno(), self._loop.READ | (self._loop.WRITE if self._output else 0)
            )

    def _read(self) -> bool:
        """Read once; returns whether there may be more."""
        try:
            data = self._socket.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._unwatch()
            self._on_broken(self)
            return False
        try:
            for parts in self._decoder.feed(data):
                self._on_frame(self, parts)
        except FrameError:
            self._unwatch()
            self._on_broken(self)
            return False
        return True
