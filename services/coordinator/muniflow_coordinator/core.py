"""What all desks of the coordinator share."""

from collections.abc import Callable
from dataclasses import dataclass, field

from muniflow.runtime.failpoints import Failpoints
from muniflow.runtime.loop import Loop
from muniflow.runtime.tracing import Tracing
from muniflow.store.types import Store
from muniflow.transport.types import Transport
from muniflow_coordinator.cleanup.cleaner import Cleaner
from muniflow_coordinator.metrics import Metrics
from muniflow_coordinator.notifier import Notifier
from muniflow_coordinator.retry_queue import RetryQueue
from muniflow_coordinator.runs.rates import StepRates
from muniflow_coordinator.runs.runs import Runs
from muniflow_coordinator.runs.scheduler import Scheduler
from muniflow_coordinator.settings import CoordinatorSettings
from muniflow_coordinator.state.types import State
from muniflow_coordinator.state.watched import watched


@dataclass(frozen=True)
class Stores:
    """The three roots."""

    source: Store
    work: Store
    output: Store


@dataclass(frozen=True)
class Surroundings:
    """What the coordinator is given: everything that a test may replace."""

    loop: Loop
    transport: Transport
    state: State
    stores: Stores
    metrics: Metrics
    failpoints: Failpoints
    give_up: Callable[[str], None]
    """Called once, from the loop, when this process must not work any more; `Coordinator.halt` is to follow."""
    rates: StepRates = field(default_factory=StepRates)
    no_task_waits: Callable[[str], bool] = lambda _operation: False
    """Whether it is known that no task of an operation waits in a queue."""
    name: str = "coordinator"
    """Who this is, for people."""
    tracing: Tracing = field(default_factory=Tracing)


@dataclass(frozen=True)
class Core:
    """The parts that several desks work with."""

    loop: Loop
    transport: Transport
    state: State
    stores: Stores
    metrics: Metrics
    failpoints: Failpoints
    retry_queue: RetryQueue
    notifier: Notifier
    runs: Runs
    scheduler: Scheduler
    cleaner: Cleaner
    tracing: Tracing
    intake_waits: dict[str, str]
    """What the reading of a batch waits for, by the batch's id."""

    @classmethod
    def of(cls, given: Surroundings, settings: CoordinatorSettings) -> "Core":
        """Make the parts, with nothing in them."""
        return cls(
            loop=given.loop,
            transport=given.transport,
            state=watched(given.state, given.failpoints),
            stores=given.stores,
            metrics=given.metrics,
            failpoints=given.failpoints,
            retry_queue=RetryQueue(given.loop, given.give_up),
            notifier=Notifier(given.loop, given.transport),
            runs=Runs(),
            scheduler=Scheduler(settings.window_images, settings.window_total),
            cleaner=Cleaner(given.stores.work),
            tracing=given.tracing,
            intake_waits={},
        )
