"""Namespaces of Linux for one thread and for what it starts."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MOUNTS = 0x20000
"""`CLONE_NEWNS`."""
NETWORK = 0x40000000
"""`CLONE_NEWNET`."""
FILES = {MOUNTS: "mnt", NETWORK: "net"}


@contextmanager
def restored(kind: int) -> Iterator[None]:
    """Whatever namespace the block enters, the thread comes back to its own."""
    before = os.open(f"/proc/thread-self/ns/{FILES[kind]}", os.O_RDONLY)
    try:
        yield
    finally:
        _must(_system().setns(before, kind))
        os.close(before)


@contextmanager
def inside(namespace: Path) -> Iterator[None]:
    """In the network namespace of this name: `/run/netns/NAME`."""
    with restored(NETWORK):
        entered = os.open(namespace, os.O_RDONLY)
        try:
            _must(_system().setns(entered, NETWORK))
        finally:
            os.close(entered)
        yield


def leave_mounts() -> None:
    """Into a new mount namespace."""
    _must(_system().unshare(MOUNTS))


def _system() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _must(result: int) -> None:
    assert result == 0, os.strerror(ctypes.get_errno())
