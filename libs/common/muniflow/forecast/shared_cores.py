"""Stages that share the cores of one machine, as with `muniflow up`: what else runs there, and what that costs.

The four figures fit 34 batches of four routes on two cores (docs/research/performance.md): given the CPU time of their
tasks, when they ended is right to 3%, and of 34 other batches to 2%.
"""

from collections.abc import Mapping, Sequence
from math import inf

CORES = "(cores)"
"""Stands for the shared cores among the stages."""
TASK_S = 0.0005
"""CPU time that broker, coordinator and workers' parents spend on a task."""
BESIDE_CORES = 0.15
"""Cores that they use beside it as long as there is work: polls, groups, reports."""
MIN_FREE = 0.5
"""The part of the cores that is left to tasks at least."""
HANDOVER_S = 0.00035
"""Between two tasks of a compute child. What else a child does is in its CPU time, so it is as busy as that says."""
NORM = 5.0
"""Where a stage and the cores are nearly equal limits, each makes the other tighter: a child that is waited for does
not get a core whenever it could run. A batch then takes the norm of this order of what each limit alone would take."""


def free_cores(cores: float | None) -> float:
    """Seconds of work per second that shared cores have for tasks; `None`, cores that are not shared: no limit."""
    return inf if cores is None else max(cores - BESIDE_CORES, cores * MIN_FREE)


def blended(rates: Sequence[float], loads: Sequence[Mapping[str, float]], capacity: Mapping[str, float]) -> list[float]:
    """Rates at which neither a stage nor the cores are beyond their capacity, as both limits together allow.

    Args:
        rates: of each group of batches.
        loads: seconds of work by stage, and of `CORES`, that each group asks for at a rate of 1.
        capacity: seconds of work per second, of `CORES`, too.
    """
    if capacity[CORES] == inf:
        return list(rates)
    used = dict.fromkeys(capacity, 0.0)
    for rate, load in zip(rates, loads, strict=True):
        for stage, seconds in load.items():
            used[stage] = used.get(stage, 0.0) + rate * seconds
    parts = {stage: seconds / capacity[stage] for stage, seconds in used.items() if capacity.get(stage, 0.0) > 0}
    return [rate / _longer(parts, load) for rate, load in zip(rates, loads, strict=True)]


def _longer(parts: Mapping[str, float], load: Mapping[str, float]) -> float:
    """How many times as long it takes as with the tighter limit alone, from the part of each that is used."""
    stage = max((parts.get(name, 0.0) for name in load if name != CORES), default=0.0)
    cores = parts[CORES]
    tighter = max(stage, cores)
    return float(((stage / tighter) ** NORM + (cores / tighter) ** NORM) ** (1 / NORM)) if tighter > 0 else 1.0
