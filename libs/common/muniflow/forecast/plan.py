"""The plan of a batch as a document: when it ends, with how many replicas, for how much, and whether in time."""

from math import inf
from typing import Any, NamedTuple

from muniflow.forecast.planner import Option, Planner
from muniflow.forecast.sizes import SizeSample


class StagePlan(NamedTuple):
    """What a plan says of one stage."""

    stage: str
    work_s: float
    replicas: int
    bottleneck: bool


def stage_plans(planner: Planner, chosen: Option) -> list[StagePlan]:
    """The stages that the batch visits."""
    bottleneck = planner.bottleneck_of(chosen)
    return [
        StagePlan(name, work.work_s, chosen.replicas.get(name, planner.running.get(name, 0)), name == bottleneck)
        for name, work in planner.load.stages.items()
    ]


def plan_document(
    planner: Planner, chosen: Option, sample: SizeSample, now_at: float, deadline_at: float | None = None
) -> dict[str, Any]:
    """What `muniflow plan --json` prints, ready for JSON: seconds, and unix seconds; `None` for what is not known.

    Args:
        planner: the batch and what it will meet.
        chosen: one of its options.
        sample: what its work was worked out from.
        now_at: unix seconds.
        deadline_at: unix seconds; `feasible` says whether the fastest option meets it as likely as not.
    """
    stages = stage_plans(planner, chosen)
    earliest_s = planner.fastest.p50_s
    return {
        "images": sample.count,
        "sampled": sample.sampled,
        "unreadable": sample.unreadable,
        "stages": [{**one._asdict(), "work_s": _rounded(one.work_s)} for one in stages],
        "finish": {
            **_times(chosen),
            "p50_at": _rounded(now_at + chosen.p50_s),
            "p90_at": _rounded(now_at + chosen.p90_s),
            "graded": planner.interval.graded,
            "calibrated": planner.interval.calibrated,
        },
        "core_s": _rounded(sum(one.work_s for one in stages)),
        "cost": _rounded(chosen.cost),
        "feasible": None if deadline_at is None else now_at + earliest_s <= deadline_at,
        "earliest_s": _rounded(earliest_s),
        "frontier": [
            {"replicas": dict(option.replicas), **_times(option), "cost": _rounded(option.cost)}
            for option in planner.frontier()
        ],
    }


def _times(option: Option) -> dict[str, float | None]:
    return {"p50_s": _rounded(option.p50_s), "p90_s": _rounded(option.p90_s)}


def _rounded(value: float | None) -> float | None:
    return None if value is None or value == inf else round(value, 3)
