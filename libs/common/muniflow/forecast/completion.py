"""When batches end, given the replicas there are: a fluid model of batches that take turns.

Every image of a batch needs some seconds in each stage; turns are dealt as images (`muniflow.forecast.turn_rates`). A
batch that no stage holds up takes what others leave. Between two events (a batch ends, replicas have started) all rates
are constant, so the model is closed: it jumps from event to event.
"""

from collections.abc import Mapping, Sequence
from math import inf

from muniflow.forecast import shared_cores
from muniflow.forecast.load import BatchLoad, Capacity, bottleneck
from muniflow.forecast.pipeline import BATCHES_LIMIT, simulated_s
from muniflow.forecast.shared_cores import CORES
from muniflow.forecast.turn_rates import BatchFlow, Group, clock_rates, with_due_first
from muniflow.forecast.work import StageWork

BATCH_S = 0.03
"""From accepting a batch to its first task, and from its last task to its notice: syncs of broker and ledger."""


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
    shared = cores is not None
    found = _fluid(_grouped(batches, capacities, shared=shared), by_name, cores)
    ends_s = {
        one.batch: found[one.batch] + _ends_s(one, by_name, shared=shared) if one.batch in found else 0.0
        for one in batches
    }
    if cores is not None:
        ends_s |= _competing_s([one for one in batches if 0 < ends_s[one.batch] < inf], ends_s, capacities, cores)
    return ends_s


def _competing_s(
    batches: Sequence[BatchLoad], ends_s: Mapping[str, float], fleet: Sequence[Capacity], cores: float
) -> dict[str, float]:
    """Of several batches on one machine: the last one ends when the fluid model says, the others in relation to it."""
    if not 1 < len(batches) <= BATCHES_LIMIT:
        return {}
    found = simulated_s(batches, fleet, cores)
    longer = max(ends_s[batch] for batch in found) / max(found.values())
    return {batch: seconds * longer for batch, seconds in found.items()}


def _grouped(batches: Sequence[BatchLoad], fleet: Sequence[Capacity], *, shared: bool) -> list[Group]:
    groups: dict[tuple[str, str, bool, str | None, frozenset[str]], Group] = {}
    for one in batches:
        ticks = one.images / one.weight
        needed = {stage: work for stage, work in one.stages.items() if work.work_s > 0}
        if ticks > 0 and needed:
            tasks = {stage: _tasks_left(work, one.images) for stage, work in needed.items()}
            handover_s = shared_cores.HANDOVER_S if shared else 0.0
            tick_s = {stage: (work.work_s + handover_s * tasks[stage]) / ticks for stage, work in needed.items()}
            beside_s = shared_cores.TASK_S * sum(tasks.values())
            tick_s[CORES] = (sum(work.work_s for work in needed.values()) + beside_s) / ticks
            slowest = bottleneck(one.stages, fleet)
            key = (one.owner, one.priority, one.express, slowest, frozenset(tick_s))
            group = groups.setdefault(key, Group((one.owner, one.priority), one.express, slowest))
            group.add(BatchFlow(ticks, one.batch, one.weight, one.due_at, tick_s))
    for group in groups.values():
        group.flows.sort(key=lambda flow: flow.end, reverse=True)
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


def _fluid(groups: Sequence[Group], capacities: Mapping[str, Capacity], cores: float | None) -> dict[str, float]:
    """When each batch has flowed through; infinite where it never does."""
    starts = sorted({one.ready_s for one in capacities.values() if one.starting})
    ends = {flow.batch: inf for group in groups for flow in group.flows}
    now_s = 0.0
    while running := with_due_first(groups):
        rates = clock_rates(running, _capacity_at(now_s, capacities, cores))
        waits = [
            (group.flows[-1].end - group.clock) / rate if rate > 0 else inf
            for group, rate in zip(running, rates, strict=True)
        ]
        step_s = min(waits)
        if starts and now_s + step_s >= starts[0]:
            step_s = starts.pop(0) - now_s
        if step_s == inf:
            break
        now_s += step_s
        for group, rate, wait_s in zip(running, rates, waits, strict=True):
            group.clock = group.flows[-1].end if wait_s <= step_s else group.clock + rate * step_s
            while group.flows and group.flows[-1].end <= group.clock:
                ends[group.pop().batch] = now_s
        groups = running
    return ends


def _capacity_at(now_s: float, capacities: Mapping[str, Capacity], cores: float | None) -> dict[str, float]:
    """Seconds of work per second by stage, with the replicas that have started by then."""
    found = {CORES: shared_cores.free_cores(cores)}
    for name, one in capacities.items():
        found[name] = _rate(one, one.replicas_at(now_s), shared=cores is not None)
    return found


def _rate(capacity: Capacity, replicas: int, *, shared: bool) -> float:
    # On shared cores tasks count with all CPU time of their child, which loses none beside them.
    return float(capacity.stage.children * replicas) if shared else capacity.stage.rate(replicas)
