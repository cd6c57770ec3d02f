"""Outputs that survive a power failure before anybody is told of them, at little cost.

One sync for many files costs a quarter of a sync for each; and while the disk writes, the next task is computed, of
this group or of the next one.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from muniflow.compute.outcome import Outcome, failed_whole
from muniflow.compute.outgoing import Result
from muniflow.compute.process import Context, fate_of
from muniflow.errors import MuniflowError, Unavailable
from muniflow.messages import Task

SYNC_TOGETHER = 32
"""Files that are synced together while others are made: with fewer, the disk's journal is the limit."""

Then = Callable[[list[Result], float], None]
"""Called in another thread with the results of a group, and the seconds that were waited for the disk after it."""


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
        if not self._on:
            return
        self._waiting += outcome.outputs
        if len(self._waiting) >= SYNC_TOGETHER:
            self._running.append(self._thread.submit(self._output.sync, self._waiting))
            self._waiting = []

    def finish(self, results: list[Result], then: Then) -> Future[None]:
        """End the group: `then` is called when all that it wrote is synced, and after all that were called before.

        Where the store cannot sync, all tasks of the group are to be retried.
        """
        last, self._waiting = self._waiting, []
        running, self._running = self._running, []
        return self._thread.submit(self._finish, results, running, last, then)

    def _finish(self, results: list[Result], running: Sequence[Future[None]], last: Sequence[str], then: Then) -> None:
        started_s = time.perf_counter()
        try:
            if last:
                self._output.sync(last)
            for sync in running:
                sync.result()
        except MuniflowError as error:
            results = _all_again(results, error)
        then(results, time.perf_counter() - started_s)


def make_durable(task: Task, outcome: Outcome, context: Context) -> Outcome:
    """Sync what one task wrote."""
    try:
        if context.durable_outputs and outcome.outputs:
            context.output.sync(outcome.outputs)
    except MuniflowError as error:
        ((_, outcome),) = _all_again([(task, outcome)], error)
    return outcome


def _all_again(results: Sequence[Result], error: MuniflowError) -> list[Result]:
    away = Unavailable("blob store", str(error))
    return [(task, failed_whole(task, fate_of(away, task.attempt))) for task, _ in results]
