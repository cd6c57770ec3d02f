"""Ending a stack that another process started: `muniflow down`. Only what its `stack.json` names is touched."""

import signal
from collections.abc import Sequence
from pathlib import Path

from muniflow_cli.stack.processes import ProcessIdentity, is_running, kill_group, send_signal
from muniflow_cli.stack.state import Role, forget_state, read_state
from muniflow_cli.stack.supervisor import DRAIN_S
from muniflow_cli.stack.waiting import wait_until

LEFT_S = 20.0
"""Time for a process without a supervisor to end by itself."""
ORDER: Sequence[Role] = ("gateway", "worker", "coordinator", "broker", "epmd")


def stop_stack(folder: Path, timeout_s: float = 2 * DRAIN_S + LEFT_S) -> bool:
    """Ask the stack of this folder to drain and wait for its end; returns whether there was one."""
    state = read_state(folder)
    if state is None:
        return False
    if send_signal(state.supervisor, signal.SIGTERM):
        wait_until(lambda: not is_running(state.supervisor), timeout_s)
    return stop_left(folder) or True


def stop_left(folder: Path) -> bool:
    """End what a supervisor that was killed left behind, in the order of a drain; returns whether there was any."""
    state = read_state(folder)
    if state is None or state.running:
        return False
    left = state.left
    for role in ORDER:
        _end([process.identity for process in left if process.role == role])
    forget_state(folder)
    return bool(left)


def _end(processes: Sequence[ProcessIdentity]) -> None:
    for process in processes:
        send_signal(process, signal.SIGTERM)
    if not wait_until(lambda: not any(is_running(process) for process in processes), LEFT_S):
        for process in processes:
            kill_group(process)
