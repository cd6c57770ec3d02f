"""What a worker did, as numbers that add up: the second half of `Events`."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from muniflow.model.step_sums import StepSums
from muniflow.model.wire import OPEN


class TaskSums(BaseModel):
    """Whole tasks of one class that were done, as sums from which the coordinator learns how long tasks take."""

    model_config: ClassVar[ConfigDict] = OPEN

    steps: int
    """How many steps of the route each ran."""
    reads: str
    """What each read, by the name in `muniflow.forecast.task_class`: the format of a source, or `raw`."""
    device: str
    """Where they were computed: `cpu` or `opencl`."""
    sums: tuple[float, ...]
    """`muniflow.forecast.service_time.Sums` as a list: tasks, megapixels in and out, seconds, weighted products."""
    outputs: tuple[float, ...] | None = None
    """The rest of that list: images that they made, and its weighted products. `None`: a worker of an earlier build."""


class Tally(BaseModel):
    """What a worker did for one step of one batch since its last report. Advisory: a redelivery counts again.

    Written out, and not made of `StepSums`: it is a contract, with the order of its fields on the wire.
    """

    model_config: ClassVar[ConfigDict] = OPEN

    batch: str
    step: int
    done: int = 0
    failed: int = 0
    retried: int = 0
    """Tasks that wait in a delay queue because a part is away."""
    waiting_for: str | None = None
    """That part, and what is wrong with it."""
    pixels: int = 0
    compute_s: float = 0.0
    tasks: tuple[TaskSums, ...] | None = None
    """Done tasks that began at this step, by class; a chain of steps is one task."""

    @property
    def sums(self) -> StepSums:
        """What adds up."""
        return StepSums.read(vars(self))
