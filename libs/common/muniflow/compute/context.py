"""What a process needs to run tasks: its steps, the three stores, limits, and the places where a test may stop it."""

from dataclasses import dataclass, field

from muniflow.compute.plans import Plans
from muniflow.compute.step import Steps
from muniflow.images.limits import ImageLimits
from muniflow.runtime.failpoints import Hit, nothing
from muniflow.runtime.settings import CPU, Device
from muniflow.store.types import Store


@dataclass(frozen=True)
class Context:
    """What tasks need, for the life of a process."""

    steps: Steps
    """The operations that this process carries; consecutive ones are chained in memory."""
    source: Store
    work: Store
    output: Store
    limits: ImageLimits
    durable_outputs: bool = True
    """Whether outputs are synced (`muniflow.compute.durable`)."""
    device: Device = CPU
    """Where the steps compute."""
    shared_cores: bool = False
    """Whether the CPU time of tasks is measured."""
    after_load: Hit = nothing
    after_compute: Hit = nothing
    plans: Plans = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "plans", Plans(self.steps, self.limits.max_pixels))
