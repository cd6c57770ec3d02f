"""How fast batches progress that take turns, in the mean of many turns (`muniflow_coordinator.runs.turns`).

Express batches come first; then by owner, then by priority, then half by due time and half by weight, as images. Only
batches with the same bottleneck share a window, so only among these the one that is due first comes before others.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from muniflow.forecast import shared_cores
from muniflow.model.batch_document import PRIORITIES
from muniflow.model.topology import EXPRESS_TURNS

LOW_SHARE = 0.05
"""Of the turns of its owner, for batches of a lower priority beside those of a higher one."""
DUE_SHARE = 0.5
"""Of the turns of an owner and a priority, for the batch that is due first; it has its part of the others, too."""
OTHERS_SHARE = 1 / (EXPRESS_TURNS + 1)
"""Of a stage, for batches that are not express, beside one that is."""
_Window = tuple[tuple[str, str], bool, str | None]
_LEAST = 1e-300
RANKS: Mapping[str, int] = {priority: rank for rank, priority in enumerate(PRIORITIES)}
"""The higher, the larger."""


class BatchFlow(NamedTuple):
    """A batch in the model."""

    end: float
    """On the clock of its group."""
    batch: str
    weight: float
    due_at: float
    tick_s: Mapping[str, float]
    """Seconds of work by stage for each tick of the clock."""


@dataclass
class Group:
    """Batches of one owner, priority and lane that use the same stages: they progress by the same virtual clock.

    The clock counts images per unit of weight, so within a group batches end in a fixed order.
    """

    turn: tuple[str, str]
    """Owner and priority."""
    express: bool
    bottleneck: str | None = None
    """The stage that they wait for."""
    flows: list[BatchFlow] = field(default_factory=list)
    """The first one to end comes last."""
    due_first: bool = False
    """Whether it is the one batch that is due first, of those with its owner, priority, lane and bottleneck."""
    weight: float = 0.0
    tick_s: dict[str, float] = field(default_factory=dict)
    """Of all its batches."""
    clock: float = 0.0

    @property
    def window(self) -> _Window:
        """What batches have in common that share a window: owner and priority, lane, bottleneck."""
        return self.turn, self.express, self.bottleneck

    def add(self, flow: BatchFlow) -> None:
        """Take a batch; `flows` are put in order by who adds them."""
        self.flows.append(flow)
        self._count(flow, 1.0)

    def pop(self, place: int = -1) -> BatchFlow:
        """Give a batch away; without a `place` the one that ends next."""
        flow = self.flows.pop(place)
        self._count(flow, -1.0)
        return flow

    def _count(self, flow: BatchFlow, sign: float) -> None:
        self.weight += sign * flow.weight
        for stage, seconds in flow.tick_s.items():
            self.tick_s[stage] = self.tick_s.get(stage, 0.0) + sign * seconds


def with_due_first(groups: Sequence[Group]) -> list[Group]:
    """The same batches; the one that is due first of those that share a window has a group of its own."""
    found = [group for group in groups if group.flows]
    sharing: dict[_Window, list[Group]] = defaultdict(list)
    for group in found:
        sharing[group.window].append(group)
    for same in sharing.values():
        if not any(group.due_first for group in same):
            found += _due_first(same)
    return [group for group in found if group.flows]


def _due_first(groups: Sequence[Group]) -> Iterator[Group]:
    group, place = min(
        ((group, place) for group in groups for place in range(len(group.flows))),
        key=lambda found: found[0].flows[found[1]].due_at,
    )
    if group.flows[place].due_at < inf:
        flow = group.pop(place)
        alone = Group(*group.window, due_first=True)
        alone.add(flow._replace(end=flow.end - group.clock))
        yield alone


def clock_rates(groups: Sequence[Group], capacity: Mapping[str, float]) -> list[float]:
    """Ticks per second of each group's clock."""
    return shared_cores.blended(_in_lanes(groups, capacity), [group.tick_s for group in groups], capacity)


def _in_lanes(groups: Sequence[Group], capacity: Mapping[str, float]) -> list[float]:
    """Express groups first, but for what is kept for others that wait."""
    express = [number for number, group in enumerate(groups) if group.express]
    others = [number for number, group in enumerate(groups) if not group.express]
    if not (express and others):
        return _fair(groups, dict(capacity))
    waited_for = {stage for number in others for stage in groups[number].tick_s}
    kept = {stage: OTHERS_SHARE * rate for stage, rate in capacity.items() if stage in waited_for and rate < inf}
    free = {stage: rate - kept.get(stage, 0.0) for stage, rate in capacity.items()}
    rates = [0.0] * len(groups)
    for lane, more in ((express, kept), (others, {}), (express, {})):
        for number, rate in zip(lane, _fair([groups[number] for number in lane], free), strict=True):
            rates[number] += rate
        for stage, rate in more.items():
            free[stage] += rate
    return rates


def _fair(groups: Sequence[Group], free: dict[str, float]) -> list[float]:
    """Max-min fair rates: all grow together, and a stage that is full stops its own. Taken off what is `free`."""
    per_turn = turns(groups)
    rates = [0.0] * len(groups)
    growing = set(range(len(groups)))
    level = 0.0
    while growing:
        loads: dict[str, float] = defaultdict(float)
        for number in growing:
            for stage, seconds in groups[number].tick_s.items():
                loads[stage] += per_turn[number] * max(seconds, 0.0)
        stage, step = _first_full(loads, free)
        level += step
        for name, load in loads.items():
            free[name] = max(free.get(name, 0.0) - load * step, 0.0)
        stopped = {number for number in growing if stage in groups[number].tick_s}
        for number in stopped:
            rates[number] = per_turn[number] * level
        growing -= stopped
    return rates


def _first_full(loads: Mapping[str, float], free: Mapping[str, float]) -> tuple[str, float]:
    """The stage that is full first while all rates grow, and by how much they grow until then."""
    steps = {stage: free.get(stage, 0.0) / max(load, _LEAST) for stage, load in loads.items()}
    stage = min(steps, key=lambda name: steps[name])
    return stage, steps[stage]


def turns(groups: Sequence[Group]) -> list[float]:
    """Images per turn and unit of weight: equal for all owners, then by priority, then by due time and weight."""
    weights: dict[tuple[str, str], float] = defaultdict(float)
    sharing: dict[_Window, float] = defaultdict(float)
    for group in groups:
        weights[group.turn] += group.weight
        sharing[group.window] += group.weight
    shares: dict[tuple[str, str], float] = {}
    for owner in {owner for owner, _ in weights}:
        *lower, highest = sorted((turn for turn in weights if turn[0] == owner), key=lambda turn: RANKS[turn[1]])
        shares |= dict.fromkeys(lower, LOW_SHARE)
        shares[highest] = 1 - LOW_SHARE * len(lower)
    ordered = {group.window for group in groups if group.due_first}
    found = []
    for group in groups:
        by_weight = 1 - DUE_SHARE if group.window in ordered else 1.0
        by_due = DUE_SHARE * sharing[group.window] / max(group.weight, _LEAST) if group.due_first else 0.0
        found.append(shares[group.turn] / max(weights[group.turn], _LEAST) * (by_due + by_weight))
    return found
