"""Processes that stand still for a while."""

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


@contextmanager
def stopped(pids: Iterable[int]) -> Iterator[None]:
    """These processes do nothing (SIGSTOP), and go on afterwards."""
    held = list(pids)
    assert held
    for pid in held:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in held:
            os.kill(pid, signal.SIGCONT)
