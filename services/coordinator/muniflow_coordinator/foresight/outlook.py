"""The answer for all stages at one moment, as data that any thread may read."""

from collections.abc import Mapping
from dataclasses import dataclass

from muniflow.forecast.replicas import Demand, Running


@dataclass(frozen=True)
class StageOutlook:
    """One stage."""

    operations: tuple[str, ...]
    wanted: int
    """Replicas."""
    running: int | None
    """Replicas that consume; `None`: not known."""
    work_s: float
    """Remaining work of all batches."""


Outlook = Mapping[str, StageOutlook]
"""All stages by name."""


def outlook_of(demand: Demand, fleet: tuple[Running, ...]) -> Outlook:
    """Return the outlook: what is wanted, beside what runs."""
    return {
        one.stage.name: StageOutlook(
            one.stage.operations,
            demand.wanted[one.stage.name].replicas,
            one.replicas,
            demand.wanted[one.stage.name].work_s,
        )
        for one in fleet
    }
