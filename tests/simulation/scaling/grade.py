"""A week of a city, run by the forecast, by an oracle and with everything at `max`."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf

from tests.deploy.chart import of_kind, rendered
from tests.simulation.scaling.autoscaler import Behavior, Rules
from tests.simulation.scaling.city import City, Turn
from tests.simulation.scaling.cluster import Pool
from tests.simulation.scaling.forecaster import Forecaster
from tests.simulation.scaling.pipeline import Flow
from tests.simulation.scaling.workload import Job, week

from muniflow.forecast.stage import Stage

ORACLE_MARGINS = (1.1, 1.25, 1.4)
DAY_S = 86_400.0


@dataclass(frozen=True)
class WeekGrade:
    """One week."""

    batches: int
    feasible: int
    """Batches that end when due with every stage at `max` while there is work."""
    met: int
    """Of those, with the forecast."""
    unnamed: int
    """Batches that ended late and were not named while they ran."""
    impossible: int
    """Batches that could not end when due, by more than `NEAR`, when they were accepted."""
    missed: int
    """Of those, not named at their acceptance."""
    wrong: int
    """Batches that could by more than `NEAR`, and were named."""
    graded: int
    """Forecasts after those of the warm-up."""
    covered: int
    """Of those, batches that ended within p90."""
    replica_s: float
    oracle_s: float

    @property
    def cost_ratio(self) -> float:
        """Replica-seconds of the forecast over those of the oracle."""
        return self.replica_s / self.oracle_s


POD_START_S = 30.0
"""On a node that is there; the coordinator is told the time with a node that must come."""
NEAR = 0.15
"""Of the time to the due time: service times are known no better at the acceptance of a batch."""
WARM_UP = 50
"""Batches whose classes may not have been seen, and whose intervals rest on few grades."""


def stages(children: int = 1, most: int = 40) -> tuple[Stage, ...]:
    """The stages of a city."""
    return tuple(
        Stage(
            name=name,
            operations=(name,),
            children=children,
            min_replicas=0,
            max_replicas=most,
            start_s=150.0,
            pool="cpu",
        )
        for name in ("resize", "split", "blur")
    )


def rules(of: Sequence[Stage], kind: str = "keda-forecast") -> dict[str, Rules]:
    """The chart's own behaviour, with KEDA or with the HPA alone, as the values of that name render it."""
    if kind.startswith("keda"):
        spec = of_kind(rendered(kind), "ScaledObject")[0]["spec"]
        behavior, cooldown_s = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"], spec["cooldownPeriod"]
    else:
        behavior, cooldown_s = of_kind(rendered(kind), "HorizontalPodAutoscaler")[0]["spec"]["behavior"], inf
    up, down = Behavior.read(behavior["scaleUp"]), Behavior.read(behavior["scaleDown"])
    return {one.name: Rules(up, down, one.min_replicas, one.max_replicas, cooldown_s) for one in of}


def city(of: Sequence[Stage], turn: Turn, seed: int = 0, kind: str = "keda-forecast") -> City:
    """Nodes come after two minutes; pods start in half a minute on one that is there.

    The pool has room for nine in ten of the replicas that all stages may have together.
    """
    most = sum(one.max_replicas for one in of)
    pools = {"cpu": Pool("cpu", pods_per_node=4, most_nodes=ceil(0.9 * most / 4), node_start_s=120.0)}
    quick = [one.model_copy(update={"start_s": POD_START_S}) for one in of]
    return City(quick, rules(of, kind), pools, turn, seed)


def week_of(seed: int, of: Sequence[Stage], load: float = 0.25, days: int = 7) -> list[Job]:
    """The batches that are sent in a week."""
    return week(random.Random(seed), {one.name: one.rate(one.max_replicas) for one in of}, load=load, days=days)


def grade_week(
    seed: int, days: int = 7, most: int = 40, margins: Sequence[float] = ORACLE_MARGINS, load: float = 0.25
) -> WeekGrade:
    """Run one generated week by the forecast, by an oracle and with everything at `max`."""
    of = stages(most=most)
    jobs = week_of(seed, of, load, days)
    _, flows = run_week(jobs, Forecaster(of, knows=True, always_max=True), seed)
    feasible = {flow.job.id for flow in flows if _in_time(flow)}
    forecaster = Forecaster(of)
    ours, flows = run_week(jobs, forecaster, seed)
    met = {flow.job.id for flow in flows if _in_time(flow)}
    late = {flow.job.id for flow in flows} - met
    oracle_s = min(_oracle(of, jobs, margin, feasible, seed) for margin in margins)[1]
    named = list(forecaster.named.values())[WARM_UP:]
    impossible = [one for one in named if one.true_earliest_s > (1 + NEAR) * one.due_s]
    possible = [one for one in named if one.true_earliest_s < (1 - NEAR) * one.due_s]
    graded = forecaster.grades[WARM_UP:]
    return WeekGrade(
        batches=len(jobs),
        feasible=len(feasible),
        met=len(met & feasible),
        unnamed=len(late - forecaster.late),
        impossible=len(impossible),
        missed=sum(not one.infeasible for one in impossible),
        wrong=sum(one.infeasible for one in possible),
        graded=len(graded),
        covered=sum(one.within_p90 for one in graded),
        replica_s=round(ours.replica_seconds),
        oracle_s=round(oracle_s),
    )


def run_week(jobs: Sequence[Job], forecaster: Forecaster, seed: int) -> tuple[City, list[Flow]]:
    """Run these batches, and a day more."""
    one = city(forecaster.stages, forecaster.turn, seed)
    return one, one.run(jobs, jobs[-1].at_s + DAY_S)


def _oracle(
    of: Sequence[Stage], jobs: Sequence[Job], margin: float, feasible: set[str], seed: int
) -> tuple[int, float]:
    """How many batches one that knows every task's time misses beyond a twentieth, and its replica-seconds."""
    one, flows = run_week(jobs, Forecaster(of, knows=True, margin=margin), seed)
    missed = len(feasible - {flow.job.id for flow in flows if _in_time(flow)})
    return max(missed - len(feasible) // 20, 0), one.replica_seconds


def _in_time(flow: Flow) -> bool:
    return flow.ended_s is not None and flow.ended_s <= flow.job.due_s
