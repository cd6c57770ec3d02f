"""The replicas that forecasts count on: those that run, and those that are about to."""

from dataclasses import dataclass, field

from muniflow.forecast.load import Capacity
from muniflow.forecast.replicas import SIGNAL_S, Running

PATIENCE_STARTS = 2.0
"""Replicas that did not come within the signal's delay and so many start times do not come: nobody scales this stage,
or its cluster is full."""


@dataclass(slots=True)
class _Watch:
    running: int
    missing_since_s: float | None = None
    alone: bool = False
    """What is wanted does not come."""


@dataclass(eq=False)
class Arrivals:
    """Follows whether the replicas that a stage wants come."""

    _watches: dict[str, _Watch] = field(init=False, default_factory=dict)

    def capacity(self, one: Running, wanted: int, now_s: float) -> Capacity:
        """Return the replicas of a stage that are counted on.

        Args:
            one: the stage and what runs.
            wanted: replicas that it should have.
            now_s: of a monotonic clock.
        """
        stage, running = one.stage, one.at_work if one.replicas is None else one.replicas
        watch = self._watches.setdefault(stage.name, _Watch(running))
        missing = max(wanted - running, 0)
        if running > watch.running:  # they come, one after the other
            watch.alone, watch.missing_since_s = False, None
        watch.running = running
        if not missing:
            watch.missing_since_s = None
            return Capacity(stage, running)
        if watch.missing_since_s is None:
            watch.missing_since_s = now_s
        waited_s = now_s - watch.missing_since_s
        watch.alone |= waited_s > SIGNAL_S + PATIENCE_STARTS * stage.start_s
        if watch.alone:
            return Capacity(stage, running)
        # After that they are overdue: the next moment is as likely as any.
        return Capacity(stage, running, missing, max(SIGNAL_S + stage.start_s - waited_s, stage.start_s, 1.0))
