"""When the running batches end, or why that is not known. Pure."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from muniflow.forecast.completion import finish_s
from muniflow.forecast.interval import Interval
from muniflow.forecast.load import BatchLoad, Capacity

REPORTED_S = 0.3
"""What workers have done is told so much later: groups of 0.2 s, and results that wait for others. So long ago it was
that a batch needed what is known to be left of it (docs/research/performance.md)."""


@dataclass(frozen=True)
class End:
    """When one batch ends."""

    in_s: float | None
    """From `now_s`, before any correction by earlier forecasts; `None`: not known."""
    at: float | None
    """Unix time, seconds, corrected by how earlier forecasts did."""
    reason: str | None = None
    """Why it is not known."""


def unknown(reason: str) -> End:
    """Return that an end is not known."""
    return End(None, None, reason)


def ends_of(
    loads: Sequence[BatchLoad],
    fleet: Iterable[Capacity],
    uncounted: Iterable[str],
    interval: Interval,
    *,
    begun: Collection[str],
    now_at: float,
    cores: float | None = None,
) -> dict[str, End]:
    """Return the end of each batch by its id.

    Args:
        loads: what all running batches still need.
        fleet: the replicas of all stages that are counted on.
        uncounted: names of stages with an unknown number of replicas.
        interval: from how earlier forecasts did.
        begun: batches of which workers have told something.
        now_at: Unix time, seconds.
        cores: of the machine that all stages share; `None`: each replica has its own.
    """
    capacities = {one.stage.name: one for one in fleet}
    not_counted = set(uncounted)
    found_s = finish_s(loads, tuple(capacities.values()), cores)
    found_s |= {batch: max(found_s[batch] - REPORTED_S, 0.0) for batch in begun}
    return {
        load.batch: _end(found_s[load.batch], _obstacle(load, capacities, not_counted), interval, now_at)
        for load in loads
    }


def _end(in_s: float, obstacle: str | None, interval: Interval, now_at: float) -> End:
    if obstacle is not None or not isfinite(in_s):
        return unknown(obstacle or "waits for a worker")
    # The middle of a wide guess says nothing of this cluster.
    return End(in_s, now_at + in_s * (interval.p50 if interval.calibrated else 1.0))


def _obstacle(load: BatchLoad, capacities: Mapping[str, Capacity], uncounted: set[str]) -> str | None:
    needed = [capacities[name] for name, work in load.stages.items() if work.work_s > 0 and name in capacities]
    empty = [one.stage.operations for one in needed if not one.servers and one.stage.name not in uncounted]
    if empty:
        return f"waits for a worker of {_named(empty)}"
    unknowns = [one.stage.operations for one in needed if one.stage.name in uncounted]
    return f"the number of workers of {_named(unknowns)} is not known" if unknowns else None


def _named(operations: Iterable[tuple[str, ...]]) -> str:
    return ", ".join("+".join(names) for names in operations)
