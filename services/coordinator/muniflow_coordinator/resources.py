"""What a process gives to its coordinators: what a test or a simulation may replace."""

from collections.abc import Callable
from dataclasses import dataclass, field

from muniflow.forecast.profile import Profile
from muniflow.forecast.stage import Stages
from muniflow.images.pictures import read_pictures
from muniflow.planning.budgets import Budgets
from muniflow.runtime.clock import Clock
from muniflow.runtime.executor import NewExecutor
from muniflow.runtime.failpoints import Failpoints
from muniflow.runtime.loop import Loop
from muniflow.runtime.tracing import Tracing
from muniflow.store.types import Store
from muniflow_coordinator.foresight.forecaster import Consumers
from muniflow_coordinator.foresight.sampler import ReadPictures
from muniflow_coordinator.handlers.senders import Senders
from muniflow_coordinator.metrics import Metrics
from muniflow_coordinator.runs.rates import StepRates
from muniflow_coordinator.runs.signer import Signer
from muniflow_coordinator.state.types import State
from muniflow_coordinator.webhooks.courier import Webhooks


@dataclass(frozen=True)
class Stores:
    """The three stores."""

    source: Store
    work: Store
    output: Store


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What `assembly.assemble` builds a coordinator on, the same for every term of leadership."""

    loop: Loop
    clock: Clock
    new_executor: NewExecutor
    """Makes an executor for each kind of background work; the coordinator stops them."""
    state: State
    stores: Stores
    metrics: Metrics
    rates: StepRates
    no_task_waits: Callable[[str], bool]
    """Whether it is certain that no task of an operation waits in a queue."""
    takes_express: Callable[[str], bool]
    """Whether it is certain that workers consume the express tasks of an operation."""
    stages: Stages
    """The Deployments of workers, as `foresight.fleet.stages_of` returns them."""
    consumers: Consumers
    """How many consume the tasks of an operation."""
    webhooks: Webhooks
    profile: Profile = field(default_factory=Profile)
    """Service times of classes that were not observed here."""
    read_pictures: ReadPictures = read_pictures
    senders: Senders = field(default_factory=lambda: Senders(None, frozenset(), "default", {}))
    signer: Signer = field(default_factory=Signer)
    budgets: Budgets = field(default_factory=Budgets)
    failpoints: Failpoints = field(default_factory=Failpoints)
    name: str = "coordinator"
    """Recorded in the database at takeover."""
    tracing: Tracing = field(default_factory=Tracing)
