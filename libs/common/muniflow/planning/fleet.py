"""The stages that a plan is made for, and all that a running stack knows of what a new batch meets there."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from muniflow.errors import Invalid
from muniflow.forecast.load import BatchLoad
from muniflow.forecast.stage import Stage, Stages
from muniflow.forecast.work import Part, StageWork
from muniflow.model.batch import faults_of
from muniflow.model.batch_document import Priority


@dataclass(frozen=True)
class Fleet:
    """Stages, how many replicas of each run, and the batches that a new one takes turns with."""

    stages: Stages
    origin: str
    """Where they come from, for people."""
    running: Mapping[str, int] = field(default_factory=dict)
    cores: float | None = None
    """Of the machine that all of them share, where it is one."""
    others: Sequence[BatchLoad] = ()
    """Accepted batches that have not ended."""
    grades: Sequence[float] = ()
    """Log ratios of actual over forecast, oldest first."""
    express_images: int = 0
    """A batch of at most so many images takes the express lane."""


NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Load(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="ignore")

    batch: str
    images: NotNegative
    stages: dict[str, tuple[float, float, float, float]]
    owner: str = "default"
    priority: Priority = "normal"
    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    express: bool = False
    due_at: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    """A coordinator of the build before does not tell it: what it has accepted is due before a new batch, as a rule."""

    mean_pixels: NotNegative = 0.0
    in_flight: NotNegative = 0.0
    parts: list[tuple[NotNegative, NotNegative]] = []

    def load(self) -> BatchLoad:
        stages = {name: StageWork(*values) for name, values in self.stages.items()}
        turns = self.owner, self.priority, self.weight, self.express, self.due_at
        parts = tuple(Part(*values) for values in self.parts)
        return BatchLoad(self.batch, self.images, stages, *turns, self.mean_pixels, self.in_flight, parts)


class _Fleet(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="ignore")

    stages: Annotated[list[Stage], Field(min_length=1)]
    running: dict[str, int] = {}
    others: list[_Load] = []
    grades: list[Annotated[float, Field(allow_inf_nan=False)]] = []
    cores: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    express_images: Annotated[int, Field(ge=0)] = 0


def fleet_document(fleet: Fleet) -> dict[str, Any]:
    """Ready for JSON: what `read_fleet` reads."""
    return {
        "stages": [stage.model_dump(mode="json", by_alias=True) for stage in fleet.stages],
        "running": dict(fleet.running),
        "others": [
            {
                "batch": one.batch,
                "images": one.images,
                "stages": {name: list(work) for name, work in one.stages.items()},
                "owner": one.owner,
                "priority": one.priority,
                "weight": one.weight,
                "express": one.express,
                "due_at": one.due_at,
                "mean_pixels": one.mean_pixels,
                "in_flight": one.in_flight,
                "parts": [list(part) for part in one.parts],
            }
            for one in fleet.others
        ],
        "grades": list(fleet.grades),
        "cores": fleet.cores,
        "express_images": fleet.express_images,
    }


def read_fleet(text: str | bytes, origin: str) -> Fleet:
    """Read what a coordinator tells of its fleet.

    Args:
        text: JSON.
        origin: see `Fleet`.

    Raises:
        Invalid: it is none, with every fault by its place.
    """
    try:
        found = _Fleet.model_validate(json.loads(text))
    except ValidationError as error:
        raise Invalid(tuple(faults_of(error, "fleet"))) from None
    others = tuple(one.load() for one in found.others)
    return Fleet(
        tuple(found.stages), origin, found.running, found.cores, others, tuple(found.grades), found.express_images
    )
