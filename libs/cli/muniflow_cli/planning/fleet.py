"""The stages that a plan is made for: named, of a running stack, or this machine alone."""

from collections.abc import Mapping

from muniflow.errors import Fault, Invalid
from muniflow.forecast.stage import MAX_REPLICAS, Stage, Stages
from muniflow.model.messages import Route
from muniflow.planning.fleet import Fleet
from muniflow_cli.stack.plan import counts_in

LOCAL = "local"
LOCAL_START_S = 0.8
"""Of the compute children of `muniflow run`: imports and forks."""


def local_fleet(route: Route, cores: int, jobs: int | None = None) -> Fleet:
    """`muniflow run`: each of its processes carries the whole route, so no step is a hop."""
    most = max(cores, jobs or 1)
    stage = Stage(
        name=LOCAL,
        operations=_operations(route),
        min_replicas=1,
        max_replicas=most,
        start_s=LOCAL_START_S,
        horizon_s=1.0,
    )
    return Fleet((stage,), f"muniflow run, {cores} cores here", cores=float(cores))


def named_fleet(stages: Stages) -> Fleet:
    """Stages of a file."""
    return Fleet(stages, "the file of stages")


def step_fleet(route: Route, replicas: Mapping[str, int]) -> Fleet:
    """One stage for each operation, each replica with a core of its own."""
    stages = (
        Stage(name=op, operations=(op,), max_replicas=max(MAX_REPLICAS, replicas.get(op, 0)))
        for op in _operations(route)
    )
    return Fleet(tuple(stages), "one stage per operation")


def read_replicas(text: str) -> dict[str, int]:
    """Read `resize=4,blur=8`.

    Raises:
        Invalid: naming the part that is wrong.
    """
    found = {}
    for part, name, number in counts_in(text):
        if not name or not number or len(number) > len("100000"):
            raise Invalid((Fault("--replicas", f"write <stage>=<number>, not {part!r}"),))
        found[name] = int(number)
    return found


def _operations(route: Route) -> tuple[str, ...]:
    return tuple(dict.fromkeys(step.op for step in route))
