"""What all desks of the coordinator share."""

from dataclasses import dataclass

from muniflow.failpoints import Failpoints
from muniflow.loop import Loop
from muniflow.store.types import Store
from muniflow.transport.types import Transport
from muniflow_coordinator.cleaner import Cleaner
from muniflow_coordinator.metrics import Metrics
from muniflow_coordinator.notices import Notifier
from muniflow_coordinator.patience import Patience
from muniflow_coordinator.runs import Runs
from muniflow_coordinator.scheduler import Scheduler
from muniflow_coordinator.settings import CoordinatorSettings
from muniflow_coordinator.state.types import State


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


@dataclass(frozen=True)
class Core:
    """The parts that several desks work with."""

    loop: Loop
    transport: Transport
    state: State
    stores: Stores
    metrics: Metrics
    failpoints: Failpoints
    patience: Patience
    notifier: Notifier
    runs: Runs
    scheduler: Scheduler
    cleaner: Cleaner

    @classmethod
    def of(cls, given: Surroundings, settings: CoordinatorSettings) -> "Core":
        """Make the parts, with nothing in them."""
        return cls(
            loop=given.loop,
            transport=given.transport,
            state=given.state,
            stores=given.stores,
            metrics=given.metrics,
            failpoints=given.failpoints,
            patience=Patience(given.loop),
            notifier=Notifier(given.loop, given.transport),
            runs=Runs(),
            scheduler=Scheduler(settings.window_images, settings.window_total),
            cleaner=Cleaner(given.stores.work),
        )
