"""What batches still need of the stages, and what the stages have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from muniflow.forecast.stage import Stage
from muniflow.forecast.work import Part, StageWork
from muniflow.model.batch_document import Priority


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

    def replicas_at(self, now_s: float) -> int:
        """Those that consume so many seconds from now."""
        return self.running + (self.starting if now_s >= self.ready_s else 0)

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
    due_at: float = inf
    """When it is due, as it takes turns; unix seconds."""
    mean_pixels: float = 0.0
    """Of its images; 0: not known."""
    in_flight: float = 0.0
    """Of its images: they are in queues already."""
    parts: Sequence[Part] = ()
    """Its images in the order in which they are dispatched; none: all are alike."""


def bottleneck(stages: Mapping[str, StageWork], fleet: Sequence[Capacity]) -> str | None:
    """The stage that a batch waits for with these replicas; `None`: it needs none of them."""
    found = paces(stages, fleet)
    return min(found, key=lambda name: found[name], default=None)


def paces(stages: Mapping[str, StageWork], fleet: Sequence[Capacity]) -> dict[str, float]:
    """Images of a batch that each stage can do in a second."""
    return {
        one.stage.name: one.servers / work.image_s
        for one in fleet
        if (work := stages.get(one.stage.name)) is not None and work.image_s > 0
    }
