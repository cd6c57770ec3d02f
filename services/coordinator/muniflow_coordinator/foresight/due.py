"""When a batch is due, and the turns that follow: one rule for who scales and for who dispatches. Pure."""

from muniflow.forecast.replicas import due_at
from muniflow.forecast.stage import Stages, visited
from muniflow_coordinator.runs.runs import Run
from muniflow_coordinator.runs.turns import Standing


def due_of(run: Run, stages: Stages) -> float:
    """Return its deadline, or the shortest horizon of its stages after its acceptance; unix seconds."""
    return due_at(run.accepted_at, run.batch.deadline_at, visited(stages, run.batch.route))


def standing_of(run: Run, stages: Stages, max_weight: int) -> Standing:
    """Return what its turns follow from; a larger weight than `max_weight` counts as that."""
    batch = run.batch
    return Standing(min(batch.weight, max_weight), batch.priority, due_of(run, stages), batch.owner)
