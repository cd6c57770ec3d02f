"""The prefetch of each queue, as it follows what tasks take. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from muniflow.worker.grouping import (
    GROUPS_PER_CHILD,
    Pace,
    PrefetchLimits,
    prefetch_for,
    prefetch_stands_s,
    steadied,
)
from muniflow.worker.settings import WorkerSettings


@dataclass
class Prefetches:
    """Those of one worker."""

    settings: WorkerSettings
    current: dict[str, int] = field(default_factory=dict, init=False)
    """By queue."""
    _wanted: dict[str, float] = field(default_factory=dict, init=False)
    """Those that would be right, as a mean over the last groups."""
    _changed_s: float = field(default=0.0, init=False)

    def changes(self, pace: Pace, now_s: float) -> Iterator[tuple[str, int]]:
        """After each group: the queues that are to be consumed with another prefetch from now on, and with which.

        Args:
            pace: what tasks took.
            now_s: of a monotonic clock.
        """
        limits = PrefetchLimits(self.settings.prefetch_min, self.settings.prefetch_max, self.settings.pixels_in_flight)
        groups = GROUPS_PER_CHILD * self.settings.children
        longest = (self.settings.group_s, self.settings.group_tasks)
        for queue, current in list(self.current.items()):
            pixels = pace.pixels(queue)
            if pixels is None:
                continue
            after_this = prefetch_for(pace.mean_s(queue), pixels, groups, longest, limits)
            self._wanted[queue] = steadied(self._wanted.get(queue), after_this)
            wanted = round(self._wanted[queue])
            if now_s - self._changed_s >= prefetch_stands_s(current, wanted):
                self._changed_s = now_s
                yield queue, wanted
