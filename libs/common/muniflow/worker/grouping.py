"""How much work to take and to hand to a child at a time. Pure.

A group has about `group_s` seconds of work: enough that messaging costs nothing, little enough that an idle child
elsewhere gets its part. What a task will take is guessed from those before it.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil, inf
from typing import Generic, NamedTuple, TypeVar

from muniflow.compute.pending import MAX_ASSIGNMENTS
from muniflow.model.topology import EXPRESS_TURNS

WEIGHT = 0.3
"""Of the newest task in the average: about the last six count. When a batch of small images follows one of large ones,
their groups are small until the average has come down, and small groups are dear."""
FORGET_TASKS = 64
"""Of a queue, after which one kind of its tasks counts no more if it was not among them: it belongs to an earlier
batch. A worker that had blurred large photographs would hold two tiles at a time for as long as only tiles come."""
FIRST_GUESS_S = 0.05
"""Seconds of a task before any was seen."""
GROUPS_PER_CHILD = MAX_ASSIGNMENTS + 1
"""What its hands hold, and one whose results are on their way to the broker."""
PREFETCH_NEAR = 1.5
"""A prefetch that is off by no more than this factor stays."""
PREFETCH_FAR = 3.0
PREFETCH_STANDS_S = 2.0
FAR_PREFETCH_STANDS_S = 0.25
PREFETCH_WEIGHT = 0.1
"""Of what is wanted after one group, in the mean that decides: about the last twenty count."""


class Kind(NamedTuple):
    """Tasks that are alike.

    Those of the two lanes are not: large photographs in the one made groups of small images in the other one task long.
    """

    queue: str
    """Where they wait; in the local engine, their operation."""
    first: bool
    """Whether the input is an encoded source, whose size is not known before it is read."""


@dataclass
class _Mean:
    seconds: float
    pixels: float
    seen_at: int = 0
    """How many tasks of its queue were done then."""

    def add(self, seconds: float, pixels: int) -> None:
        self.seconds += WEIGHT * (seconds - self.seconds)
        self.pixels += WEIGHT * (pixels - self.pixels)


@dataclass
class Pace:
    """What tasks took lately."""

    _means: dict[Kind, _Mean] = field(default_factory=dict)
    _tasks: dict[str, int] = field(default_factory=dict)
    """By queue."""

    def learn(self, kind: Kind, seconds: float, pixels: int) -> None:
        """A task of this kind and this many input pixels took so long."""
        if seconds <= 0 or pixels <= 0:
            return
        if kind in self._means:
            self._means[kind].add(seconds, pixels)
        else:
            self._means[kind] = _Mean(seconds, pixels)
        self._means[kind].seen_at = self._tasks[kind.queue] = self._tasks.get(kind.queue, 0) + 1

    def seconds(self, kind: Kind, pixels: int | None) -> float:
        """Seconds that a task will take; `pixels` of its input, where they are known."""
        mean = self._means.get(kind)
        if mean is None:
            return FIRST_GUESS_S
        return mean.seconds if pixels is None else mean.seconds * pixels / mean.pixels

    def pixels(self, queue: str) -> float | None:
        """The largest mean input of this queue's tasks of late, in pixels; `None` before any was seen."""
        return max((mean.pixels for mean in self._recent(queue)), default=None)

    def mean_s(self, queue: str) -> float:
        """The longest mean of this queue's tasks of late, in seconds."""
        return max((mean.seconds for mean in self._recent(queue)), default=FIRST_GUESS_S)

    def _recent(self, queue: str) -> list[_Mean]:
        oldest = self._tasks.get(queue, 0) - FORGET_TASKS
        return [mean for kind, mean in self._means.items() if kind.queue == queue and mean.seen_at > oldest]


def group_length(seconds: Iterable[float], group_s: float, max_tasks: int) -> int:
    """How many of the first tasks make a group: see `group_of`."""
    return group_of(seconds, group_s, max_tasks)[0]


def group_of(seconds: Iterable[float], group_s: float, max_tasks: int) -> tuple[int, float]:
    """How many of the first tasks make a group, at most `group_s` of work, but one at least; and its seconds of work.

    Args:
        seconds: what each waiting task will take, in order.
        group_s: seconds of work in a group.
        max_tasks: tasks in a group.
    """
    work_s, length = 0.0, 0
    for task_s in seconds:
        if length and (work_s + task_s > group_s or length >= max_tasks):
            break
        work_s += task_s
        length += 1
    return length, work_s


def may_be_early(task_s: float, group_s: float) -> bool:
    """Whether a group may wait in a child's hands behind another: long tasks go to the child that is free first."""
    return 2 * task_s <= group_s


class PrefetchLimits(NamedTuple):
    """Bounds of a queue's prefetch."""

    least: int
    most: int
    pixels_in_flight: int


def prefetch_for(
    mean_s: float, mean_pixels: float | None, groups: int, longest: tuple[float, int], limits: PrefetchLimits
) -> int:
    """How many deliveries a queue may have unacked.

    Args:
        mean_s: seconds that one of its tasks takes.
        mean_pixels: pixels of one of its tasks, or `None` when none was seen.
        groups: groups of work to hold.
        longest: seconds of work in a group, and tasks in it, whichever is reached first.
        limits: bounds; the one on pixels is stronger than the least, except that one delivery is always taken.
    """
    group_s, group_tasks = longest
    wanted = ceil(groups * min(group_s / max(mean_s, 1e-6), group_tasks))
    bounded = min(max(wanted, limits.least), limits.most)
    if mean_pixels is not None:
        bounded = min(bounded, int(limits.pixels_in_flight / max(mean_pixels, 1.0)))
    return max(bounded, 1)


def _factor(one: float, other: float) -> float:
    """How far they are apart, as a factor of 1 or more."""
    return max(one / other, other / one)


def steadied(before: float | None, wanted: int) -> float:
    """The mean of the prefetches wanted lately: what tasks take differs from group to group on a busy machine.

    Without it a worker of 1024 px images consumed anew again and again, and handed back one delivery in eleven. What
    is far off is news, and replaces the mean.
    """
    if before is None or _factor(before, wanted) > PREFETCH_FAR:
        return float(wanted)
    return before + PREFETCH_WEIGHT * (wanted - before)


def prefetch_stands_s(current: int, wanted: int) -> float:
    """How long a prefetch stands before it may give way to another one: it is changed by consuming anew.

    Far off, as when small images follow large ones, it makes every group small; so it does not stand for long.
    """
    off = _factor(current, wanted)
    if off <= PREFETCH_NEAR:
        return inf
    return PREFETCH_STANDS_S if off <= PREFETCH_FAR else FAR_PREFETCH_STANDS_S


Item = TypeVar("Item")


@dataclass
class Backlog(Generic[Item]):
    """What was delivered and waits for a child, by queue; queues take turns, group by group, express ones first."""

    express: frozenset[str] = frozenset()
    """Queues that go first, except that the others have one second of work after `EXPRESS_TURNS` of them."""
    _queues: dict[str, deque[Item]] = field(default_factory=dict)
    _ahead_s: float = 0.0
    """Work of express queues for which the others have not had their part yet."""
    _turn_s: float = 0.0
    """Work of the last group of the others."""

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def add(self, queue: str, item: Item, *, first: bool = False) -> None:
        """One more at the end of its queue, or at its front."""
        waiting = self._queues.setdefault(queue, deque())
        if first:
            waiting.appendleft(item)
        else:
            waiting.append(item)

    def next_queue(self) -> Sequence[Item]:
        """The items of the queue whose turn it is; empty when nothing waits."""
        name = self._next()
        return () if name is None else self._queues[name]

    def take(self, count: int, work_s: float) -> list[Item]:
        """The first `count` items of `next_queue`, whose turn ends; they are so many seconds of work."""
        name = self._next()
        if name is None:
            return []
        if name not in self.express:
            self._turn_s = work_s
            self._ahead_s = max(self._ahead_s - EXPRESS_TURNS * work_s, 0.0)
        else:
            self._turn_s = self._turn_s or work_s
            # While no other waits, no more than one turn of theirs is kept for them.
            self._ahead_s = min(self._ahead_s, EXPRESS_TURNS * self._turn_s) + work_s
        waiting = self._queues[name] = self._queues.pop(name)
        return [waiting.popleft() for _ in range(min(count, len(waiting)))]

    def _next(self) -> str | None:
        """The queue whose turn it is."""
        other = None
        others_turn = self._turn_s > 0 and self._ahead_s >= EXPRESS_TURNS * self._turn_s
        for name, waiting in self._queues.items():
            if not waiting:
                continue
            if (name in self.express) != others_turn:
                return name
            other = other or name
        return other

    def clear(self) -> list[Item]:
        """Empty it; returns what was there."""
        items = [item for waiting in self._queues.values() for item in waiting]
        self._queues.clear()
        return items
