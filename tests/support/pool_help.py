"""A compute pool with real children, driven to an end on its own loop."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from tests.support.compute_help import SUPPORT

from muniflow.compute.groups import GroupResult
from muniflow.compute.pending import PendingTask
from muniflow.compute.pool import ComputePool
from muniflow.compute.spec import ChildSpec
from muniflow.compute.types import PoolEvents
from muniflow.model.messages import Settled, Task
from muniflow.runtime.loop import Loop, new_loop

LIMIT_S = 60.0


@dataclass
class PoolRun:
    spec: ChildSpec
    children: int = 1
    loop: Loop = field(default_factory=new_loop)
    deaths: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    on_tick: Callable[["PoolRun"], None] = lambda _run: None
    tick_s: float = 0.02

    def run(self, groups: Sequence[Sequence[Task]], *, early: bool = False) -> list[GroupResult]:
        """Results in the order of `groups`; ends the pool."""
        results: dict[int, GroupResult] = {}
        events = PoolEvents(lambda: None, lambda: None, self._fail, self.deaths.append)
        self.pool = ComputePool(self.loop, self.spec, self.children, events, (str(SUPPORT),))

        def done(number: int, result: GroupResult) -> None:
            assert number not in results
            results[number] = result
            if len(results) == len(groups):
                self.end()

        self.pool.start()
        for number, group in enumerate(groups):
            tasks = [PendingTask(task, task.to_bytes()) for task in group]
            self.pool.submit(tasks, partial(done, number), early=early)
        self.loop.call_later(LIMIT_S, self.end)
        self._tick()
        self.loop.start()
        self.loop.close()
        return [results[number] for number in sorted(results)]

    def end(self) -> None:
        self.pool.stop(self.loop.stop)

    def _fail(self, reason: str) -> None:
        self.failed.append(reason)
        self.end()

    def _tick(self) -> None:
        self.on_tick(self)
        self.loop.call_later(self.tick_s, self._tick)


def settled(results: Sequence[GroupResult]) -> dict[int, Settled]:
    """What was settled, by image; each exactly once."""
    found: dict[int, Settled] = {}
    for result in results:
        for part in result.settled:
            assert part.image not in found
            found[part.image] = part
    return found


def reasons(results: Sequence[GroupResult]) -> dict[int, str | None]:
    return {image: part.reason for image, part in settled(results).items()}
