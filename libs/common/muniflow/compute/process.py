"""The one meaning: what tasks do. The worker's child, the `once` filter and the local engine all call this.

Several tasks run together: all are read, then each is computed, then what they made is written. Right after the pixels
of an image no cache of the CPU holds anything of what a read or a write needs; the second of two in a row takes two
thirds of the time, and with small images that is a tenth of everything (docs/performance.md).
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from muniflow.compute.chain import Chain
from muniflow.compute.context import Context
from muniflow.compute.groups import Span
from muniflow.compute.outcome import Outcome, disposition_of, failed_whole
from muniflow.errors import NotFound
from muniflow.model.messages import Task
from muniflow.model.settlement import Fail

TOGETHER = 16
"""Tasks whose inputs are in memory at once; of more, nothing is gained."""
READ_TOGETHER_BYTES = 4 << 20
"""When so much was read, no more is: large images run one by one."""

Begin = Callable[[int, float], None]
"""Told that the task at this place goes on now, and how many seconds it has taken before."""


class Processed(NamedTuple):
    """A task that ran."""

    task: Task
    outcome: Outcome
    span: Span


def process(task: Task, context: Context) -> Outcome:
    """Run one task, like `process_together`."""
    (processed,) = process_together([task], context)
    return processed.outcome


def process_together(
    tasks: Sequence[Task], context: Context, begin: Begin = lambda _place, _seconds: None, stop_s: float = inf
) -> Iterator[Processed]:
    """Run tasks, and give each with what became of it, in their order. Raises nothing: every error is a fate.

    After `stop_s` seconds no further task is computed; the first one always is. What is left is as if never taken up.

    A tile that fails is settled alone and its siblings go on. A part that is away (`Unavailable`) anywhere makes the
    whole task one to retry, because everything that it wrote is written again under the same keys.
    """
    waiting = deque(_Run(place, Chain(task, context)) for place, task in enumerate(tasks))
    started_s = time.perf_counter()
    while waiting:
        runs = _read_some(waiting, begin)
        for number, run in enumerate(runs):
            if run.place and time.perf_counter() - started_s > stop_s:
                waiting.clear()
                runs = runs[:number]
                break
            run.go_on(run.chain.compute, begin)
        for run in runs:
            run.go_on(run.chain.write, begin)
        yield from (Processed(run.chain.task, run.outcome(), Span(run.began_at, run.seconds)) for run in runs)


@dataclass
class _Run:
    """A task on its way through the phases."""

    place: int
    chain: Chain
    began_at: float = field(default_factory=time.time)
    seconds: float = 0.0
    ended: Outcome | None = None
    """What a phase raised."""

    def go_on(self, phase: Callable[[], None], begin: Begin) -> None:
        """Run one phase, unless one before it was the end."""
        if self.ended is not None:
            return
        begin(self.place, self.seconds)
        started_s = time.perf_counter()
        task = self.chain.task
        try:
            phase()
        except NotFound as error:
            # Only an input can be missing. An intermediate is deleted when its image is settled, so this is a late
            # copy; or the work store lost it, with its power. The coordinator knows which.
            missing = Fail(str(error), "intermediate_missing" if task.tiles else error.reason_code)
            self.ended = failed_whole(task, missing, input_gone=bool(task.tiles))
        except Exception as error:  # noqa: BLE001 - `settle` knows what each kind of error means
            self.ended = failed_whole(task, disposition_of(error, task.attempt))
        self.seconds += time.perf_counter() - started_s

    def outcome(self) -> Outcome:
        """What became of it."""
        return self.ended or self.chain.outcome()


def _read_some(waiting: deque[_Run], begin: Begin) -> list[_Run]:
    """Read the next tasks that fit together."""
    runs: list[_Run] = []
    while waiting and len(runs) < TOGETHER and sum(run.chain.read_bytes for run in runs) < READ_TOGETHER_BYTES:
        run = waiting.popleft()
        run.began_at = time.time()
        run.go_on(run.chain.read, begin)
        runs.append(run)
    return runs
