"""A few bytes that a compute child and its parent share: which task the child works on, and since when."""

import mmap
import os
import tempfile
import time
from typing import NamedTuple

PROGRESS_BYTES = mmap.PAGESIZE
IDLE = -1
INDEX_BITS = 20
NUMBERS = 1 << INDEX_BITS
"""Tasks are numbered from 0 to this; then the numbers begin again."""


class Current(NamedTuple):
    """The task in a child's hands."""

    number: int
    """Its number among all that the child was given, 0-based, modulo `NUMBERS`."""
    seconds: float
    """How long it has taken."""


def new_progress_file() -> int:
    """A file descriptor of anonymous memory for one cell."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("muniflow-cell")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, PROGRESS_BYTES)
    return descriptor


class SharedProgress:
    """One side's view of the progress of a child. The child writes while it works, the parent reads at any moment.

    All of it is one aligned word of 8 bytes, which is stored and loaded at once. With two fields (`struct` even clears
    both first) a parent that looked between them saw a task that had begun with the machine, and killed its child.
    """

    def __init__(self, descriptor: int) -> None:
        """Map the memory behind `descriptor`, which may be closed afterwards."""
        self._memory = mmap.mmap(descriptor, PROGRESS_BYTES)
        self._bytes = memoryview(self._memory)
        self._words = self._bytes.cast("q")

    def begin(self, number: int, spent_s: float = 0.0) -> None:
        """Say that task `number` goes on now, and has taken so many seconds before."""
        self._words[0] = int((time.monotonic() - spent_s) * 1000) << INDEX_BITS | number % NUMBERS

    def idle(self) -> None:
        """Say that no task is being worked on."""
        self._words[0] = IDLE

    def current(self) -> Current | None:
        """The task being worked on, or `None`. The clock is the machine's, the same in both processes."""
        word = self._words[0]
        if word == IDLE:
            return None
        return Current(word % NUMBERS, time.monotonic() - (word >> INDEX_BITS) / 1000)

    def close(self) -> None:
        """Unmap."""
        self._words.release()
        self._bytes.release()
        self._memory.close()
