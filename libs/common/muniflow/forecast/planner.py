"""What a batch would take with other numbers of replicas: finish and cost, for a deadline or a budget."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import ceil, inf

from muniflow.errors import Fault, Invalid
from muniflow.forecast.completion import finish_s
from muniflow.forecast.cost import Prices, cost_of
from muniflow.forecast.interval import Interval
from muniflow.forecast.load import BatchLoad, Capacity
from muniflow.forecast.stage import HORIZON_S, Stage, Stages

FRONTIER_POINTS = 24
"""Options that are compared, at most."""
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Option:
    """One number of replicas for each stage, and what follows from it."""

    replicas: Mapping[str, int]
    """By stage, of those that the batch visits."""
    finish_s: float
    """From now until the batch ends, before any correction: what is graded later."""
    p50_s: float
    p90_s: float
    cost: float | None
    """`None` where no prices are known."""


@dataclass(frozen=True)
class Planner:
    """A batch that may be sent, and the stages and batches that it will meet."""

    load: BatchLoad
    """Of the whole batch."""
    stages: Stages
    interval: Interval
    running: Mapping[str, int] = field(default_factory=dict)
    """Replicas that run already; all others start first."""
    others: Sequence[BatchLoad] = ()
    """Accepted batches, which take their turns."""
    cores: float | None = None
    """Of the one machine that all stages share, where it is one."""
    prices: Prices | None = None

    def option(self, replicas: Mapping[str, int]) -> Option:
        """What follows from these replicas; a stage that is not named keeps those that run.

        Raises:
            Invalid: a stage that there is not, or fewer than no replicas.
        """
        known = [stage.name for stage in self.stages]
        problem = f"no such stage; there are: {', '.join(known)}"
        faults = [Fault(f"replicas.{name}", problem) for name in replicas if name not in known]
        faults += [Fault(f"replicas.{name}", "less than 0") for name, count in replicas.items() if count < 0]
        if faults:
            raise Invalid(tuple(faults))
        ends_s = self._finish_s(replicas)
        p50_s, p90_s = ends_s * self.interval.p50, ends_s * self.interval.p90
        cost = None
        if self.prices is not None and ends_s < inf:
            cost = cost_of(replicas, p50_s, self.stages, self.prices)
        return Option(dict(replicas), ends_s, p50_s, p90_s, cost)

    @property
    def fastest(self) -> Option:
        """The bottleneck at its `max`, and every other stage in proportion."""
        return self.options[-1]

    @cached_property
    def options(self) -> tuple[Option, ...]:
        """From one replica of the bottleneck to its `max`: every other stage has its proportion."""
        bottleneck = self._bottleneck()
        if bottleneck is None:
            return (self.option({}),)
        return tuple(self._with(bottleneck, count) for count in _spread(bottleneck.max_replicas))

    def within_horizon(self) -> Option:
        """The fewest replicas with which it ends within the horizon, nine times in ten; else the fastest."""
        return self.within_s(min((stage.horizon_s for stage in self._visited()), default=HORIZON_S))

    def by(self, deadline_at: float, now_at: float) -> Option:
        """The fewest replicas with which it ends by a deadline, nine times in ten; else the fastest.

        Raises:
            Invalid: the deadline is in the past.
        """
        if deadline_at <= now_at:
            raise Invalid((Fault("deadline", "is in the past"),))
        return self.within_s(deadline_at - now_at)

    def within_s(self, limit_s: float) -> Option:
        """The fewest replicas with which it ends so many seconds from now, nine times in ten; else the fastest."""
        bottleneck = self._bottleneck()
        if bottleneck is None or self.fastest.p90_s > limit_s:
            return self.fastest
        counts = range(1, bottleneck.max_replicas + 1)
        place = bisect_left(counts, True, key=lambda count: self._with(bottleneck, count).p90_s <= limit_s)
        return self._with(bottleneck, counts[min(place, len(counts) - 1)])

    def for_budget(self, budget: float) -> Option:
        """The fastest option that costs no more than `budget`.

        Raises:
            Invalid: there are no prices, or nothing is so cheap.
        """
        if self.prices is None:
            raise Invalid((Fault("budget", "needs prices"),))
        priced = [(option.cost, option) for option in self.options if option.cost is not None]
        affordable = [option for cost, option in priced if cost <= budget]
        if not affordable:
            least = min((cost for cost, _ in priced), default=inf)
            raise Invalid((Fault("budget", f"nothing is so cheap; the cheapest option costs {least:.2f}"),))
        return min(affordable, key=lambda option: option.p50_s)

    def frontier(self) -> tuple[Option, ...]:
        """The options that no other one beats in both cost and time, slowest first; without prices, all that differ."""
        found: list[Option] = []
        cheapest = inf
        for option in sorted(self.options, key=lambda one: one.p50_s):
            price = sum(option.replicas.values()) if option.cost is None else option.cost
            if price < cheapest:
                found.append(option)
                cheapest = price
        return tuple(reversed(found))

    def bottleneck_of(self, option: Option) -> str | None:
        """The stage that the batch waits for."""
        flows = {
            stage.name: self._work_s(stage) / rate if (rate := stage.rate(option.replicas.get(stage.name, 0))) else inf
            for stage in self._visited()
        }
        return max(flows, key=lambda name: flows[name], default=None)

    def _work_s(self, stage: Stage) -> float:
        work = self.load.stages.get(stage.name)
        return work.work_s if work else 0.0

    def _visited(self) -> list[Stage]:
        return [stage for stage in self.stages if self._work_s(stage) > 0]

    def _bottleneck(self) -> Stage | None:
        """The stage that would be one with `max` everywhere."""
        return max(self._visited(), key=lambda one: self._work_s(one) / one.rate(one.max_replicas), default=None)

    def _with(self, bottleneck: Stage, count: int) -> Option:
        """So many replicas of the bottleneck, and of every other stage enough to keep its pace."""
        drain_s = self._work_s(bottleneck) / bottleneck.rate(count)
        replicas = {}
        for stage in self._visited():
            enough = ceil(self._work_s(stage) / (stage.rate(1) * drain_s) - _ROUNDING)
            replicas[stage.name] = min(max(enough, 1, stage.min_replicas), stage.max_replicas)
        return self.option(replicas)

    def _finish_s(self, replicas: Mapping[str, int]) -> float:
        capacities = []
        for stage in self.stages:
            # A stage that only others visit keeps what runs.
            running = self.running.get(stage.name, 0)
            wanted = replicas.get(stage.name, running)
            capacities.append(Capacity(stage, min(running, wanted), max(wanted - running, 0)))
        others = [other for other in self.others if other.batch != self.load.batch]
        return finish_s([self.load, *others], capacities, self.cores)[self.load.batch]


def _spread(most: int) -> list[int]:
    """1 to `most`, at most `FRONTIER_POINTS` of them, evenly spread on a logarithmic scale."""
    if most <= FRONTIER_POINTS:
        return list(range(1, most + 1))
    return sorted({round(most ** (number / (FRONTIER_POINTS - 1))) for number in range(FRONTIER_POINTS)})
