"""A batch, planned: from its images' sizes, service times and stages to the replicas that are chosen."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from muniflow.errors import Invalid, Rejected
from muniflow.forecast.cost import Prices
from muniflow.forecast.interval import interval
from muniflow.forecast.load import BatchLoad
from muniflow.forecast.plan import plan_document
from muniflow.forecast.planner import Option, Planner
from muniflow.forecast.profile import Profile
from muniflow.forecast.replicas import due_at
from muniflow.forecast.route import Path
from muniflow.forecast.stage import visited
from muniflow.forecast.work import BatchWork
from muniflow.model.batch import Batch, is_express
from muniflow.model.deadline import past_faults
from muniflow.model.messages import Route
from muniflow.model.operation import Operations
from muniflow.planning.fleet import Fleet
from muniflow.planning.sampling import Sampling


@dataclass(frozen=True)
class Wish:
    """What a user asks of a plan; nothing: the fewest replicas that end within the horizon."""

    replicas: Mapping[str, int] | None = None
    deadline_at: float | None = None
    budget: float | None = None
    fastest: bool = False
    """Where replicas cost nothing more, as on one machine."""


@dataclass(frozen=True)
class Plan:
    """A plan, and what it was made from."""

    planner: Planner
    chosen: Option
    sampling: Sampling
    now_at: float
    deadline_at: float | None

    def document(self) -> dict[str, Any]:
        """What `muniflow plan --json` prints, and `POST /v1/plans` answers."""
        return plan_document(self.planner, self.chosen, self.sampling.sample, self.now_at, self.deadline_at)


def make_plan(
    batch: Batch,
    operations: Operations,
    sampling: Sampling,
    fleet: Fleet,
    *,
    profile: Profile,
    prices: Prices | None,
    wish: Wish,
    now_at: float,
) -> Plan:
    """Plan a batch.

    Raises:
        Invalid: a wish that cannot be met, by its place; a deadline in the past.
        Rejected: no stage carries an operation, or the batch never ends with the replicas of the wish.
    """
    work = BatchWork.of(sampling.sample, Path.of(batch, operations, fleet.stages))
    due = due_at(now_at, wish.deadline_at, visited(fleet.stages, batch.route))
    turns = batch.owner, batch.priority, batch.weight, is_express(work.count, fleet.express_images), due
    mean_pixels, parts = sampling.sample.mean_pixels, work.parts(profile)
    load = BatchLoad(batch.batch_id, work.count, work.left(profile), *turns, mean_pixels, parts=parts)
    factors = interval(fleet.grades)
    planner = Planner(load, fleet.stages, factors, fleet.running, fleet.others, cores=fleet.cores, prices=prices)
    chosen = _choose(planner, fleet, batch, wish, now_at)
    if chosen.finish_s == inf:
        raise Rejected("with these replicas the batch never ends: a stage that it needs has none")
    return Plan(planner, chosen, sampling, now_at, wish.deadline_at)


def _choose(planner: Planner, fleet: Fleet, batch: Batch, wish: Wish, now_at: float) -> Option:
    if faults := past_faults(wish.deadline_at, now_at):
        raise Invalid(faults)
    if wish.replicas is not None:
        return planner.option(_whole_replicas(fleet, batch.route, wish.replicas))
    if wish.budget is not None:
        return planner.for_budget(wish.budget)
    if wish.deadline_at is not None:
        return planner.by(wish.deadline_at, now_at)
    chosen = planner.fastest if wish.fastest else planner.within_horizon()
    # What runs already will take part, and costs nothing more.
    return planner.option({name: max(count, fleet.running.get(name, 0)) for name, count in chosen.replicas.items()})


def _whole_replicas(fleet: Fleet, route: Route, given: Mapping[str, int]) -> dict[str, int]:
    """The given replicas; of other stages of the route those that run, and one at least."""
    counts = {
        stage.name: max(stage.min_replicas, fleet.running.get(stage.name, 0), 1)
        for stage in visited(fleet.stages, route)
    }
    return counts | dict(given)
