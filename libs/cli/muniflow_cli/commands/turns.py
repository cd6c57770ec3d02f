"""What the coordinator says to the deadline of a batch."""

import time
from typing import TYPE_CHECKING

from muniflow_cli.commands.output import clock

if TYPE_CHECKING:
    from muniflow.model.api import BatchStatus
    from muniflow.model.messages import Notice


def deadline_text(judged: "BatchStatus | Notice", now_at: float | None = None) -> str:
    """One line on a deadline; empty where there is none."""
    if judged.deadline_at is None:
        return ""
    now_at = time.time() if now_at is None else now_at
    due = f"deadline {clock(judged.deadline_at, now_at)}"
    if judged.feasible is None or judged.earliest_at is None:
        return due
    earliest = f"the earliest time, with max replicas, is {clock(judged.earliest_at, now_at)}"
    return f"{due}: {'feasible' if judged.feasible else 'not feasible'}; {earliest}"
