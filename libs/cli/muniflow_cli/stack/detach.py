"""A stack in the background: `muniflow up --detach`, and the demo's own."""

import contextlib
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from muniflow.errors import Unavailable
from muniflow_cli.stack.state import StackState, read_state
from muniflow_cli.stack.supervisor import DRAIN_S, last_lines
from muniflow_cli.stack.waiting import wait_until

START_TIMEOUT_S = 1000.0
"""Each process has a limit of its own, the broker's the longest; this one ends a supervisor that hangs."""
LOG = "up.log"


def start_detached(folder: Path, arguments: Sequence[str], environment: Mapping[str, str]) -> StackState:
    """Start `muniflow up` with these arguments in a session of its own and wait until it is ready.

    Raises:
        Unavailable: it did not become ready; the text has the end of its log.
    """
    log = folder / LOG
    folder.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "muniflow_cli.main", "up", *arguments],
            env={**environment, "MUNIFLOW_STATE_DIR": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def settled() -> bool:
        return process.poll() is not None or _ready(folder, process.pid) is not None

    try:
        wait_until(settled, START_TIMEOUT_S)
    except BaseException:
        _end(process)  # Ctrl-C reaches only us: it has a session of its own
        raise
    state = _ready(folder, process.pid)
    if process.poll() is not None or state is None:
        _end(process)
        raise Unavailable("the stack", f"it did not start. The end of {log}:\n{last_lines(log, 15)}")
    process.returncode = 0  # it goes on without us, on purpose: no warning about it at our end
    return state


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let it drain what it has started so far."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(DRAIN_S)


def _ready(folder: Path, pid: int) -> StackState | None:
    state = read_state(folder)
    return state if state is not None and state.ready and state.supervisor.pid == pid else None
