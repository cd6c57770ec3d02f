"""Outputs that survive a power failure before anybody is told of them, at little cost.

One sync for many files costs a quarter of a sync for each; and while the disk writes, the next task is computed, of
this group or of the next one.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from muniflow.compute.context import Context
from muniflow.compute.groups import Result
from muniflow.compute.outcome import Outcome, disposition_of, failed_whole
from muniflow.errors import MuniflowError, Unavailable
from muniflow.model.messages import Task

SYNC_TOGETHER = 128
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
        self._only_outputs = True
        """Of the group so far. A volume that holds intermediates, too, is not synced whole: they should be deleted
        before they are ever written to a disk."""
        self._running: list[Future[None]] = []

    def add(self, task: Task, outcome: Outcome) -> None:
        """A task of the group is computed."""
        if not self._on:
            return
        self._waiting += outcome.outputs
        self._only_outputs &= only_outputs(task, outcome)
        if len(self._waiting) >= SYNC_TOGETHER:
            sync = partial(self._sync, self._waiting, whole_volume=self._only_outputs)
            self._running.append(self._thread.submit(sync))
            self._waiting = []

    def finish(self, results: list[Result], then: Then) -> Future[None]:
        """End the group: `then` is called when all that it wrote is synced, and after all that were called before.

        Where the store cannot sync, all tasks of the group are to be retried.
        """
        last, self._waiting = self._waiting, []
        running, self._running = self._running, []
        whole_volume, self._only_outputs = self._only_outputs, True
        sync_last = partial(self._sync, last, whole_volume=whole_volume)
        return self._thread.submit(_finish, results, running, sync_last, then)

    def _sync(self, keys: Sequence[str], *, whole_volume: bool) -> None:
        if keys:
            self._output.sync(keys, whole_volume=whole_volume)


def _finish(results: list[Result], running: Sequence[Future[None]], sync_last: Callable[[], None], then: Then) -> None:
    started_s = time.perf_counter()
    try:
        sync_last()
        for sync in running:
            sync.result()
    except MuniflowError as error:
        results = _all_again(results, error)
    then(results, time.perf_counter() - started_s)


def only_outputs(task: Task, outcome: Outcome) -> bool:
    """Whether a task went from an encoded source to outputs, without intermediates."""
    return not task.tiles and not outcome.follow


def make_durable(task: Task, outcome: Outcome, context: Context) -> Outcome:
    """Sync what one task wrote."""
    try:
        if context.durable_outputs and outcome.outputs:
            context.output.sync(outcome.outputs, whole_volume=only_outputs(task, outcome))
    except MuniflowError as error:
        ((_, outcome),) = _all_again([(task, outcome)], error)
    return outcome


def _all_again(results: Sequence[Result], error: MuniflowError) -> list[Result]:
    away = Unavailable("blob store", str(error))
    return [(task, failed_whole(task, disposition_of(away, task.attempt))) for task, _ in results]
