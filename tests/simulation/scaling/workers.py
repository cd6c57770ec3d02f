"""Every task of one batch on a fleet that is busy: whether the coordinator's window keeps it so.

Where batches flow as a fluid a window cannot be too small for the way of an image; here each image takes its time in
each stage, workers hold groups of tasks, and what is done waits for the rest of its group.
"""

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

GROUP_S = 0.2
"""A worker groups tasks of about so many seconds; it holds one that runs and two that wait, for each child."""
HELD_GROUPS = 3
REPORT_S = 0.1
"""A result waits so long for others at most."""
SPREAD = 0.3
"""Of the seconds of single tasks, evenly to both sides."""


@dataclass
class _Child:
    """One compute child, with what its worker holds for it."""

    group: int
    held: deque[int] = field(default_factory=deque)
    busy: bool = False

    @property
    def room(self) -> int:
        return self.group * HELD_GROUPS - len(self.held)


@dataclass
class _Stage:
    task_s: float
    children: list[_Child]
    queue: deque[int] = field(default_factory=deque)
    worked_s: float = 0.0


def busy_part(task_s: Sequence[float], children: Sequence[int], window: int, lasts_s: float, seed: int = 1) -> float:
    """The part of the bottleneck's time that goes into tasks while images wait, after a tenth of the time.

    Args:
        task_s: of an image in each stage.
        children: of all replicas of each stage together.
        window: images that are dispatched and not settled.
        lasts_s: of the simulated time.
        seed: of the seconds of single tasks.
    """
    run = _Run(random.Random(seed), [_stage(*one) for one in zip(task_s, children, strict=True)])
    run.stages[0].queue.extend(range(window))
    run.work(0.1 * lasts_s)
    begun_s = [stage.worked_s for stage in run.stages]
    run.work(lasts_s)
    parts = [(stage.worked_s - begun) / (0.9 * lasts_s * len(stage.children))
             for stage, begun in zip(run.stages, begun_s, strict=True)]  # fmt: skip
    return max(parts)


def _stage(task_s: float, children: int) -> _Stage:
    group = max(round(GROUP_S / task_s), 1)
    return _Stage(task_s, [_Child(group) for _ in range(children)])


@dataclass
class _Run:
    dice: random.Random
    stages: list[_Stage]
    events: list[tuple[float, int, int, int]] = field(default_factory=list)
    """Time, number, stage and child; child -1: an image comes to the stage."""
    number: int = 0
    turn: int = 0

    def work(self, until_s: float) -> None:
        """Let the time pass."""
        for place in range(len(self.stages)):
            self._deliver(place, self.events[0][0] if self.events else 0.0)
        while self.events and self.events[0][0] < until_s:
            at_s, _, place, child = heappop(self.events)
            if child < 0:
                self.stages[place].queue.append(0)
            else:
                self._done(place, child, at_s)
            self._deliver(place, at_s)

    def _done(self, place: int, number: int, at_s: float) -> None:
        child = self.stages[place].children[number]
        child.held.popleft()
        child.busy = False
        # The last stage's result settles the image, and the next one is dispatched.
        following = (place + 1) % len(self.stages)
        self._at(at_s + self.dice.uniform(0, REPORT_S), following, -1)
        self._begin(place, number, at_s)

    def _deliver(self, place: int, at_s: float) -> None:
        """As a broker does: to one consumer after the other, while it may hold more."""
        stage = self.stages[place]
        tried = 0
        while stage.queue and tried < len(stage.children):
            self.turn = (self.turn + 1) % len(stage.children)
            child = stage.children[self.turn]
            if child.room > 0:
                child.held.append(stage.queue.popleft())
                self._begin(place, self.turn, at_s)
                tried = 0
            else:
                tried += 1

    def _begin(self, place: int, number: int, at_s: float) -> None:
        stage = self.stages[place]
        child = stage.children[number]
        if child.held and not child.busy:
            child.busy = True
            seconds = stage.task_s * self.dice.uniform(1 - SPREAD, 1 + SPREAD)
            stage.worked_s += seconds
            self._at(at_s + seconds, place, number)

    def _at(self, at_s: float, place: int, child: int) -> None:
        self.number += 1
        heappush(self.events, (at_s, self.number, place, child))
