"""Stages: what the coordinator is told about each Deployment of workers (`MUNIFLOW_STAGES`, a JSON list)."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from muniflow.errors import Fault, Invalid
from muniflow.model.batch import faults_of
from muniflow.model.json_text import read_json
from muniflow.model.messages import Route

EFFICIENCY = 0.9
"""The part of a compute child's time that goes into tasks while work waits: the efficiency in all formulas.

The rest is groups on their way between broker, parent and child. The confirms and groups of a busy worker took 2 to 6%
(docs/adr/0007, docs/research/performance.md); replicas rarely end their queues together, which takes as much again.
"""

MAX_REPLICAS = 20
"""Of a stage for which nobody set it; the chart's default, too."""

HORIZON_S = 900.0
"""A batch without a deadline is due so long after it was accepted."""


class Stage(BaseModel):
    """One Deployment: the operations that its pods carry, and how it may scale."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$")]
    operations: Annotated[tuple[str, ...], Field(min_length=1)]
    """Consecutive steps of these run in one task, without a hop."""
    children: Annotated[int, Field(ge=1)] = 1
    """Tasks that one replica computes at a time."""
    device: str = "cpu"
    min_replicas: Annotated[int, Field(ge=0, alias="min")] = 0
    max_replicas: Annotated[int, Field(ge=1, alias="max")] = MAX_REPLICAS
    start_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 15.0
    """From wanting a replica until it consumes, with its node where one must come."""
    horizon_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = HORIZON_S
    """A batch without a deadline that comes here is due so long after it was accepted."""
    pool: str | None = None
    """The node pool that its pods run on, for prices."""
    replicas_per_node: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Replicas that share a node, for prices per node; `None`: as many as the price table says."""

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        if self.max_replicas < self.min_replicas:
            raise ValueError(f"`max` is {self.max_replicas}, less than `min`, which is {self.min_replicas}")
        if len(set(self.operations)) < len(self.operations):
            raise ValueError("`operations` names an operation twice")
        return self

    def rate(self, replicas: float) -> float:
        """Seconds of work that this many replicas do in one second."""
        return self.children * replicas * EFFICIENCY


Stages = tuple[Stage, ...]

_STAGES: TypeAdapter[list[Stage]] = TypeAdapter(list[Stage])


def read_stages(text: str | bytes) -> Stages:
    """Read the JSON list of stages.

    Raises:
        Invalid: with every fault, each named by its place: `stages[1].max`.
    """
    try:
        document = read_json(text)
    except (ValueError, RecursionError) as error:
        raise Invalid((Fault("stages", f"not JSON: {error}"),)) from None
    try:
        stages = _STAGES.validate_python(document)
    except ValidationError as error:
        raise Invalid(tuple(faults_of(error, "stages"))) from None
    faults = [] if stages else [Fault("stages", "name one stage at least")]
    faults += _doubled(stages)
    if faults:
        raise Invalid(tuple(faults))
    return tuple(stages)


def visited(stages: Stages, route: Route) -> Stages:
    """The stages that a batch with this route comes to."""
    on_route = {step.op for step in route}
    return tuple(stage for stage in stages if on_route.intersection(stage.operations))


def write_stages(stages: Stages) -> str:
    """The JSON list that `read_stages` reads."""
    return _STAGES.dump_json(list(stages), by_alias=True, exclude_defaults=True).decode()


def _doubled(stages: Sequence[Stage]) -> list[Fault]:
    """Names that are taken, and operations that two stages carry on the same device."""
    faults: list[Fault] = []
    names: set[str] = set()
    carriers: dict[tuple[str, str], str] = {}
    for number, stage in enumerate(stages):
        if stage.name in names:
            faults.append(Fault(f"stages[{number}].name", f"two stages are named {stage.name!r}"))
        names.add(stage.name)
        for place, operation in enumerate(stage.operations):
            other = carriers.setdefault((operation, stage.device), stage.name)
            if other != stage.name:
                problem = (
                    f"{operation!r} is also in stage {other!r} with device {stage.device!r}; "
                    "two stages share an operation only with different devices"
                )
                faults.append(Fault(f"stages[{number}].operations[{place}]", problem))
    return faults
