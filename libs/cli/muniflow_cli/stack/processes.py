"""Processes that we started, named so that no other can be mistaken for one of them."""

import contextlib
import os
import signal
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from muniflow_cli.stack.waiting import wait_until

KILL_TIMEOUT_S = 5.0


class ProcessIdentity(BaseModel):
    """A process: its id is used again by the system, its id with its start time is not."""

    model_config = ConfigDict(frozen=True)

    pid: int
    started: str
    """When it started, as the system counts: clock ticks since the machine started."""


def identify(pid: int) -> ProcessIdentity | None:
    """The process with this id now; `None` if there is none, or only a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name of the program is in brackets and may hold anything: fields are counted from the last bracket.
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in {"Z", "X"} else ProcessIdentity(pid=pid, started=fields[18])


def is_running(process: ProcessIdentity) -> bool:
    """Whether this very process still runs."""
    return identify(process.pid) == process


def send_signal(process: ProcessIdentity, number: signal.Signals) -> bool:
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


def kill_group(process: ProcessIdentity) -> None:
    """Kill this very process with all of its group, which it must lead: what we start leads its own."""
    if is_running(process):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def session_members(session: int) -> list[int]:
    """Ids of the living processes of a session; none where there is no `/proc` to ask."""
    members = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            # The name, in brackets, may hold anything; after it: state, parent, group, session, …, threads.
            fields = status.read_text(errors="replace").rpartition(")")[2].split()
            # A zombie holds nothing, unless threads of it are still on their way out.
            alive = fields[0] not in "ZX" or int(fields[17]) > 1
            if int(fields[3]) == session and alive:
                members.append(int(status.parent.name))
    return members


def kill_members(session: int) -> bool:
    """Kill what lives of a session; returns whether there was anything, which takes the kernel a moment to end."""
    members = session_members(session)
    for pid in members:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return bool(members)


def kill_session(session: int) -> None:
    """Kill what lives of a session and wait for its end.

    Some programs give their helpers groups of their own, in the session that began with the process that we started.
    """
    wait_until(lambda: not kill_members(session), KILL_TIMEOUT_S)
