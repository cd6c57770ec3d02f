"""Which child has which tasks, and which group they belong to."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from muniflow.compute.groups import GroupResult, Span, result_of
from muniflow.compute.outcome import failed_whole
from muniflow.model.messages import Task
from muniflow.model.settlement import Disposition

MAX_ASSIGNMENTS = 2
"""Of one child: the one that it computes, and an early one behind it."""


@dataclass
class PendingTask:
    """A task on its way through the pool."""

    task: Task
    body: bytes
    """The task as it came, for the child."""
    strikes: int = 0
    """How often a child died on it."""


@dataclass
class PendingGroup:
    """A submitted group. Its tasks may come back in several parts."""

    missing: int
    on_done: Callable[[GroupResult], None]
    result: GroupResult = field(default_factory=GroupResult)

    def add(self, part: GroupResult, tasks: int) -> None:
        """`tasks` of its tasks are back, with this result."""
        self.result.add(part)
        self.missing -= tasks
        if self.missing == 0:
            self.on_done(self.result)


@dataclass
class Assignment:
    """What one child holds, or will: tasks of one group."""

    tasks: list[PendingTask]
    group: PendingGroup
    early: bool = False
    """Whether a child may have it while it still has another one."""
    crashes: int = 0
    """How often a child died with this assignment, and no task was to blame."""
    first: int = 0
    """The number of its first task among all that its child was given (`muniflow.compute.shared_progress`)."""


def failed_result(failures: Sequence[tuple[Task, Disposition]]) -> GroupResult:
    """The result of tasks that the parent itself settles."""
    results = [(task, failed_whole(task, disposition)) for task, disposition in failures]
    result = result_of(results, [Span()] * len(results), time.time())
    result.sources = [task for task, _ in failures]
    return result
