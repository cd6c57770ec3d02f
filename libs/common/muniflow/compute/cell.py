"""A few bytes that a compute child and its parent share: which task the child works on, and since when."""

import mmap
import os
import struct
import tempfile
import time
from typing import NamedTuple

_LAYOUT = struct.Struct("<qd")
CELL_BYTES = mmap.PAGESIZE
IDLE = -1


class Current(NamedTuple):
    """The task in a child's hands."""

    place: int
    """Its place in the group, 0-based."""
    seconds: float
    """How long it has taken."""


def new_cell_file() -> int:
    """A file descriptor of anonymous memory for one cell."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("muniflow-cell")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, CELL_BYTES)
    return descriptor


class Cell:
    """One side's view of a cell. The child writes while it works; the parent only between groups."""

    def __init__(self, descriptor: int) -> None:
        """Map the memory behind `descriptor`, which may be closed afterwards."""
        self._memory = mmap.mmap(descriptor, CELL_BYTES)

    def begin(self, index: int) -> None:
        """Say that task number `index` of the group begins now."""
        _LAYOUT.pack_into(self._memory, 0, index, time.monotonic())

    def idle(self) -> None:
        """Say that no task is being worked on."""
        _LAYOUT.pack_into(self._memory, 0, IDLE, 0.0)

    def current(self) -> Current | None:
        """The task being worked on, or `None`. The clock is the machine's, the same in both processes."""
        index, since = _LAYOUT.unpack_from(self._memory, 0)
        return None if index == IDLE else Current(index, time.monotonic() - since)

    def close(self) -> None:
        """Unmap."""
        self._memory.close()
