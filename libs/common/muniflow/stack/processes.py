"""Processes that we started, named so that no other can be mistaken for one of them."""

import contextlib
import os
import signal
from pathlib import Path

from pydantic import BaseModel, ConfigDict


class Identity(BaseModel):
    """A process: its id is used again by the system, its id with its start time is not."""

    model_config = ConfigDict(frozen=True)

    pid: int
    started: str
    """When it started, as the system counts: clock ticks since the machine started."""


def identify(pid: int) -> Identity | None:
    """Who runs under this id now; `None` when nobody does, or only the remains of one that ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name of the program is in brackets and may hold anything: fields are counted from the last bracket.
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in {"Z", "X"} else Identity(pid=pid, started=fields[18])


def is_running(process: Identity) -> bool:
    """Whether this very process still runs."""
    return identify(process.pid) == process


def send_signal(process: Identity, number: signal.Signals) -> bool:
    """Signal this very process; returns whether it was there to take it."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        # The handle holds on to one process, so what is compared is what gets the signal.
        if not is_running(process):
            return False
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    else:
        return True
    finally:
        os.close(handle)


def kill_group(process: Identity) -> None:
    """Kill this very process with all of its group, which it must lead: what we start leads its own."""
    if is_running(process):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
