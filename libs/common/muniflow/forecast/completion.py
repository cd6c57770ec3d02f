"""When batches end, given the replicas there are: a fluid model of batches that take fair turns.

Every image of a batch needs some seconds in each stage. Express batches come first, but for a part of each replica's
time; then turns are dealt by owner, then priority, then weight, as images. A batch that no stage holds up takes what
others leave. Between two events (a batch ends, replicas have started) all rates are constant, so the model is closed:
it jumps from event to event.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

from muniflow.forecast import shared_cores
from muniflow.forecast.shared_cores import CORES
from muniflow.forecast.stage import Stage
from muniflow.forecast.work import StageWork
from muniflow.model.batch_document import PRIORITIES, Priority
from muniflow.model.topology import EXPRESS_TURNS

LOW_SHARE = 0.05
"""Of the turns of its owner, for batches of a lower priority beside those of a higher one."""
OTHERS_SHARE = 1 / (EXPRESS_TURNS + 1)
"""Of a stage, for batches that are not express, beside one that is."""
BATCH_S = 0.03
"""From accepting a batch to its first task, and from its last task to its notice: syncs of broker and ledger."""
_RANKS: Mapping[str, int] = {priority: rank for rank, priority in enumerate(PRIORITIES)}


class Capacity(NamedTuple):
    """The replicas of one stage."""

    stage: Stage
    running: int
    starting: int = 0
    """They consume after `starts_in_s`."""
    starts_in_s: float | None = None
    """`None`: the start time of the stage."""

    @property
    def ready_s(self) -> float:
        """When those that start consume, in seconds from now."""
        return self.stage.start_s if self.starts_in_s is None else self.starts_in_s

    @property
    def servers(self) -> int:
        """Tasks at a time, once all of them run."""
        return (self.running + self.starting) * self.stage.children


@dataclass(frozen=True)
class BatchLoad:
    """What one batch still needs, and how it takes turns."""

    batch: str
    images: float
    """That are not settled."""
    stages: Mapping[str, StageWork]
    owner: str = "default"
    priority: Priority = "normal"
    weight: float = 1.0
    express: bool = False
    """Whether its tasks take the express lane."""


class _Entry(NamedTuple):
    """A batch in the model."""

    end: float
    """On the clock of its group."""
    batch: str
    weight: float
    tick_s: Mapping[str, float]
    """Seconds of work by stage for each tick of the clock."""


@dataclass
class _Group:
    """Batches of one owner, priority and lane that use the same stages: they progress by the same virtual clock.

    The clock counts images per unit of weight, so within a group batches end in a fixed order.
    """

    turn: tuple[str, str]
    express: bool
    entries: list[_Entry] = field(default_factory=list)
    """The first one to end comes last."""
    weight: float = 0.0
    tick_s: dict[str, float] = field(default_factory=dict)
    """Of all its batches."""
    clock: float = 0.0

    def add(self, entry: _Entry, sign: float = 1.0) -> None:
        self.weight += sign * entry.weight
        for stage, seconds in entry.tick_s.items():
            self.tick_s[stage] = self.tick_s.get(stage, 0.0) + sign * seconds


def finish_s(
    batches: Sequence[BatchLoad], capacities: Sequence[Capacity], cores: float | None = None
) -> dict[str, float]:
    """Seconds from now until each batch ends; infinite where a stage that it needs has no replicas.

    Args:
        batches: all batches that are accepted.
        capacities: replicas by stage; a stage that is not named has none.
        cores: of the machine that all stages share; `None`: each replica has its own.
    """
    by_name = {capacity.stage.name: capacity for capacity in capacities}
    found = _fluid(_grouped(batches, shared=cores is not None), by_name, cores)
    shared = cores is not None
    return {
        one.batch: found[one.batch] + _ends_s(one, by_name, shared=shared) if one.batch in found else 0.0
        for one in batches
    }


def _grouped(batches: Sequence[BatchLoad], *, shared: bool) -> list[_Group]:
    groups: dict[tuple[str, str, bool, frozenset[str]], _Group] = {}
    for one in batches:
        ticks = one.images / one.weight
        needed = {stage: work for stage, work in one.stages.items() if work.work_s > 0}
        if ticks > 0 and needed:
            tasks = {stage: _tasks_left(work, one.images) for stage, work in needed.items()}
            handover_s = shared_cores.HANDOVER_S if shared else 0.0
            tick_s = {stage: (work.work_s + handover_s * tasks[stage]) / ticks for stage, work in needed.items()}
            beside_s = shared_cores.TASK_S * sum(tasks.values())
            tick_s[CORES] = (sum(work.work_s for work in needed.values()) + beside_s) / ticks
            key = (one.owner, one.priority, one.express, frozenset(tick_s))
            group = groups.setdefault(key, _Group((one.owner, one.priority), one.express))
            entry = _Entry(ticks, one.batch, one.weight, tick_s)
            group.entries.append(entry)
            group.add(entry)
    for group in groups.values():
        group.entries.sort(key=lambda entry: entry.end, reverse=True)
    return list(groups.values())


def _tasks_left(work: StageWork, images: float) -> float:
    """Tasks that a stage still gets of a batch with so many images that are not settled."""
    unseen = work.work_s / work.image_s if work.image_s > 0 else images
    return min(images, unseen) * work.tasks_per_image


def _ends_s(one: BatchLoad, capacities: Mapping[str, Capacity], *, shared: bool) -> float:
    """What a batch takes beyond the flow of its bottleneck: filling the pipeline, and the last tasks.

    For each stage that may be the bottleneck: its flow, the time of one image in the other stages, and Graham's bound
    for its own last task. The largest sum counts, so that it never grows with the replicas.
    """
    flows, fills, tails = {}, {}, {}
    for name, work in one.stages.items():
        if work.work_s <= 0:
            continue
        capacity = capacities.get(name)
        if capacity is None or not capacity.servers:
            return inf
        flows[name] = work.work_s / _rate(capacity, capacity.running + capacity.starting, shared=shared)
        fills[name] = work.image_s / max(min(capacity.servers, work.tasks_per_image), 1.0)
        tails[name] = (1 - 1 / capacity.servers) * work.longest_s
    fill_s = sum(fills.values())
    most = max(flows[name] + fill_s - fills[name] + tails[name] for name in flows)
    return BATCH_S + most - max(flows.values())


def _fluid(running: list[_Group], capacities: Mapping[str, Capacity], cores: float | None) -> dict[str, float]:
    """When each batch has flowed through; infinite where it never does."""
    starts = sorted({one.ready_s for one in capacities.values() if one.starting})
    ends = {entry.batch: inf for group in running for entry in group.entries}
    now_s = 0.0
    while running:
        rates = _rates(running, _capacity_at(now_s, capacities, cores))
        waits = [
            (group.entries[-1].end - group.clock) / rate if rate > 0 else inf
            for group, rate in zip(running, rates, strict=True)
        ]
        step_s = min(waits)
        if starts and now_s + step_s >= starts[0]:
            step_s = starts.pop(0) - now_s
        if step_s == inf:
            break
        now_s += step_s
        for group, rate, wait_s in zip(running, rates, waits, strict=True):
            group.clock = group.entries[-1].end if wait_s <= step_s else group.clock + rate * step_s
            while group.entries and group.entries[-1].end <= group.clock:
                entry = group.entries.pop()
                group.add(entry, -1.0)
                ends[entry.batch] = now_s
        running = [group for group in running if group.entries]
    return ends


def _capacity_at(now_s: float, capacities: Mapping[str, Capacity], cores: float | None) -> dict[str, float]:
    """Seconds of work per second by stage, with the replicas that have started by then."""
    rates = {CORES: shared_cores.free_cores(cores)}
    for name, one in capacities.items():
        replicas = one.running + (one.starting if now_s >= one.ready_s else 0)
        rates[name] = _rate(one, replicas, shared=cores is not None)
    return rates


def _rate(capacity: Capacity, replicas: int, *, shared: bool) -> float:
    # On shared cores tasks count with all CPU time of their child, which loses none beside them.
    return float(capacity.stage.children * replicas) if shared else capacity.stage.rate(replicas)


def _rates(groups: Sequence[_Group], capacity: Mapping[str, float]) -> list[float]:
    """Ticks per second of each group's clock."""
    return shared_cores.blended(_in_lanes(groups, capacity), [group.tick_s for group in groups], capacity)


def _in_lanes(groups: Sequence[_Group], capacity: Mapping[str, float]) -> list[float]:
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


def _fair(groups: Sequence[_Group], free: dict[str, float]) -> list[float]:
    """Max-min fair rates: all grow together, and a stage that is full stops its own. Taken off what is `free`."""
    turns = _turns(groups)
    rates = [0.0] * len(groups)
    growing = set(range(len(groups)))
    level = 0.0
    while growing:
        loads: dict[str, float] = defaultdict(float)
        for number in growing:
            for stage, seconds in groups[number].tick_s.items():
                loads[stage] += turns[number] * max(seconds, 0.0)
        stage, step = _first_full(loads, free)
        level += step
        for name, load in loads.items():
            free[name] = max(free.get(name, 0.0) - load * step, 0.0)
        stopped = {number for number in growing if stage in groups[number].tick_s}
        for number in stopped:
            rates[number] = turns[number] * level
        growing -= stopped
    return rates


def _first_full(loads: Mapping[str, float], free: Mapping[str, float]) -> tuple[str, float]:
    """The stage that is full first while all rates grow, and by how much they grow until then."""
    steps = {stage: free.get(stage, 0.0) / max(load, 1e-300) for stage, load in loads.items()}
    stage = min(steps, key=lambda name: steps[name])
    return stage, steps[stage]


def _turns(groups: Sequence[_Group]) -> list[float]:
    """Images per turn and unit of weight: equal for all owners, then by priority, then by weight."""
    weights: dict[tuple[str, str], float] = defaultdict(float)
    for group in groups:
        weights[group.turn] += group.weight
    shares: dict[tuple[str, str], float] = {}
    for owner in {owner for owner, _ in weights}:
        *lower, highest = sorted((turn for turn in weights if turn[0] == owner), key=lambda turn: _RANKS[turn[1]])
        shares |= dict.fromkeys(lower, LOW_SHARE)
        shares[highest] = 1 - LOW_SHARE * len(lower)
    return [shares[group.turn] / max(weights[group.turn], 1e-300) for group in groups]
