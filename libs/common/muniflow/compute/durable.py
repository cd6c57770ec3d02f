"""Outputs that survive a power failure before anybody is told of them, at little cost.

One sync for many files costs a quarter of a sync for each; and while the disk writes, the next task is computed.
"""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from muniflow.compute.outcome import Outcome, failed_whole
from muniflow.compute.process import Context, fate_of
from muniflow.errors import MuniflowError, Unavailable
from muniflow.messages import Task

SYNC_TOGETHER = 32
"""Files that are synced together while others are made: with fewer, the disk's journal is the limit."""

Result = tuple[Task, Outcome]


class Durability:
    """Syncs what the tasks of a group write, from a thread of its own; for one group after the other."""

    def __init__(self, context: Context) -> None:
        """Sync in the output store of `context`, where it wants that."""
        self._output = context.output
        self._on = context.durable_outputs
        self._thread = ThreadPoolExecutor(1, "sync")  # starts with its first work
        self._waiting: list[str] = []
        self._running: list[Future[None]] = []

    def add(self, outcome: Outcome) -> None:
        """A task of the group is computed."""
        self._waiting += outcome.outputs
        if self._on and len(self._waiting) >= SYNC_TOGETHER:
            self._running.append(self._thread.submit(self._output.sync, self._waiting))
            self._waiting = []

    def finish(self, results: Sequence[Result]) -> list[Result]:
        """Wait until all that this group wrote is synced; where the store cannot, all its tasks are to be retried."""
        last, self._waiting = self._waiting, []
        running, self._running = self._running, []
        try:
            if self._on and last:
                self._output.sync(last)
            for sync in running:
                sync.result()
        except MuniflowError as error:
            away = Unavailable("blob store", str(error))
            return [(task, failed_whole(task, fate_of(away, task.attempt))) for task, _ in results]
        return list(results)


def make_durable(task: Task, outcome: Outcome, context: Context) -> Outcome:
    """Sync what one task wrote."""
    durability = Durability(context)
    durability.add(outcome)
    ((_, synced),) = durability.finish([(task, outcome)])
    return synced
