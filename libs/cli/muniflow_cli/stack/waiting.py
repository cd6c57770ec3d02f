"""Waiting for what no event tells of: another process."""

import time
from collections.abc import Callable

POLL_S = 0.05


def wait_until(condition: Callable[[], object], timeout_s: float, *, every_s: float = POLL_S) -> bool:
    """Ask until `condition` holds; returns whether it did within `timeout_s`."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(every_s)
    return True
