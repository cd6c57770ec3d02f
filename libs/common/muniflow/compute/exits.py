"""Why a compute child died, and whose fault it was. Pure."""

import signal

from muniflow.model.settlement import Fail

CRASHES = frozenset(
    {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSYS, signal.SIGTRAP}
)
"""Signals that a process brings upon itself: the same image does it again."""
MAX_STRIKES = 2
"""Crashes of unknown cause before a task is settled as failed. The first may be an operator's `kill`, or the kernel
choosing this child when another process took the memory; the task is then tried once more in a group of its own."""


def describe(status: int) -> str:
    """An exit status for people: `signal 11, SIGSEGV` or `exit code 1`."""
    if status >= 0:
        return f"exit code {status}"
    try:
        return f"signal {-status}, {signal.Signals(-status).name}"
    except ValueError:
        return f"signal {-status}"


def classify_exit(status: int, kill_reason: str | None, strikes: int, task_timeout_s: float) -> Fail | None:
    """What becomes of the task that a child worked on when it died.

    Args:
        status: the exit code, or minus the signal.
        kill_reason: why we killed it, if we did.
        strikes: how often a child died on this task, this time included.
        task_timeout_s: the limit of one task.

    Returns:
        The failure, or `None`: try it again, alone.
    """
    if kill_reason is not None:
        return Fail(kill_reason, "timed_out")
    if -status in CRASHES:
        return Fail(f"crashed the decoder or the operation ({describe(status)})", "crashed")
    if -status == signal.SIGXCPU:
        return Fail(too_slow(task_timeout_s), "timed_out")
    if strikes < MAX_STRIKES:
        return None
    cause = "; most likely it needs more memory than there is" if -status == signal.SIGKILL else ""
    return Fail(
        f"ended {strikes} compute children ({describe(status)}){cause}", "out_of_memory" if cause else "crashed"
    )


def too_slow(task_timeout_s: float) -> str:
    """The reason of a task that was stopped."""
    return f"took longer than {task_timeout_s:g} s (MUNIFLOW_COMPUTE_TIMEOUT_S)"
