"""The local engine on all cores: the worker's compute pool on a loop of its own, with a bounded window in flight."""

from collections import deque
from dataclasses import dataclass, field

from muniflow.compute.groups import GroupResult
from muniflow.compute.pending import PendingTask, failed_result
from muniflow.compute.pool import ComputePool
from muniflow.compute.spec import ChildSpec
from muniflow.compute.types import PoolEvents
from muniflow.errors import Fault, Invalid
from muniflow.model.messages import Task
from muniflow.model.settlement import Fail
from muniflow.runtime.loop import Loop, new_loop
from muniflow.store.listing import ImageRef
from muniflow.worker.grouping import GROUPS_PER_CHILD, Kind, Pace, group_length, may_be_early
from muniflow.worker.outgoing import next_attempt
from muniflow_cli.engine.account import Account

GROUP_S = 0.2
GROUP_TASKS = 64


def run_parallel(
    account: Account, spec: ChildSpec, jobs: int, pauses_s: tuple[float, ...], python_path: tuple[str, ...]
) -> None:
    """Run all images of `account` in `jobs` compute children.

    Raises:
        Invalid: the step packages cannot be used.
    """
    loop = new_loop()
    run = _Run(loop, account, deque(account.to_run), jobs, pauses_s)
    events = PoolEvents(run.hand_out, run.hand_out, run.failed)
    run.pool = ComputePool(loop, spec, jobs, events, python_path)
    run.pool.start()
    try:
        loop.start()
    finally:
        if not run.ended:
            # An exception or Ctrl-C came out of the loop: run it once more, only to end the children.
            run.end()
            loop.start()
        loop.close()
    if run.problem is not None:
        raise Invalid((Fault("operations", run.problem),))


@dataclass
class _Run:
    loop: Loop
    account: Account
    refs: deque[ImageRef]
    """Images that were not begun."""
    jobs: int
    pauses_s: tuple[float, ...]
    ended: bool = False
    problem: str | None = None
    pool: ComputePool = field(init=False)
    _ready: list[Task] = field(default_factory=list)
    """Tasks that follow from others; they go first, so that intermediates stay few."""
    _groups: int = 0
    _pace: Pace = field(default_factory=Pace)

    def failed(self, reason: str) -> None:
        self.problem = reason
        self.end()

    def end(self) -> None:
        if not self.ended:
            self.ended = True
            self.pool.stop(self.loop.stop)

    def hand_out(self) -> None:
        while not self.ended and self._groups < self.jobs * GROUPS_PER_CHILD and (group := self._next_group()):
            self._groups += 1
            early = may_be_early(self._seconds(group[0]), GROUP_S)
            self.pool.submit([PendingTask(task, task.to_bytes()) for task in group], self._on_result, early=early)
        if self.account.complete:
            self.end()

    def _next_group(self) -> list[Task]:
        while len(self._ready) < GROUP_TASKS and self.refs:
            # At the front, because the end goes first.
            self._ready.insert(0, self.account.begin(self.refs.popleft()))
        # Towards the end in smaller and smaller groups, so that all children end at about the same time.
        most = min(GROUP_TASKS, max(1, (len(self.refs) + len(self._ready)) // (GROUPS_PER_CHILD * self.jobs)))
        length = group_length(map(self._seconds, reversed(self._ready)), GROUP_S, most)
        return [self._ready.pop() for _ in range(length)]

    def _seconds(self, task: Task) -> float:
        return self._pace.seconds(Kind(task.op, not task.tiles), task.input_px)

    def _on_result(self, result: GroupResult) -> None:
        self._groups -= 1
        for task in result.tasks:
            self._pace.learn(Kind(task.op, task.first), task.seconds, task.pixels)
        self._take(result)
        self.hand_out()

    def _take(self, result: GroupResult) -> None:
        self._ready += [Task.from_bytes(follow.body) for follow in result.following]
        for task, done in zip(result.sources, result.tasks, strict=True):
            if done.disposition == "retry":
                self._again(next_attempt(task), done.reason)
        self.account.add(result.settled)

    def _again(self, task: Task, reason: str) -> None:
        if task.attempt - 2 < len(self.pauses_s):
            self.loop.call_later(self.pauses_s[task.attempt - 2], lambda: self._resume(task))
            return
        why = reason or "the compute children are away"
        disposition = Fail(f"gave up after {task.attempt - 1} attempts: {why}", "part_away")
        self._take(failed_result([(task, disposition)]))

    def _resume(self, task: Task) -> None:
        self._ready.append(task)
        self.hand_out()
