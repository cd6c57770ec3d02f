"""Real coordinator and worker processes in a simulation: started, killed, frozen, drained, started again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import count
from typing import Any

from prometheus_client import CollectorRegistry
from tests.simulation.pipeline import compute
from tests.simulation.pipeline.broker import SimBroker
from tests.simulation.pipeline.ledger import Database, LockServer, SimLock
from tests.simulation.pipeline.pool import SimPool
from tests.simulation.pipeline.simulation import Process, SimExecutor, SimLoop, Simulation
from tests.simulation.pipeline.transport import SimTransport

from muniflow.images.limits import ImageLimits
from muniflow.model.budget import Budget
from muniflow.model.messages import Task
from muniflow.model.topology import work_queues
from muniflow.planning.budgets import Budgets
from muniflow.runtime.budgets import BudgetSettings
from muniflow.runtime.failpoints import PLACES, Failpoints
from muniflow.runtime.settings import BrokerSettings
from muniflow.testing.inline import InlineRepeater
from muniflow.worker.metrics import WorkerMetrics
from muniflow.worker.serve import Worker, new_worker
from muniflow.worker.settings import GROUP_STOP, WorkerSettings
from muniflow_coordinator import lifecycle
from muniflow_coordinator.assembly import assemble
from muniflow_coordinator.coordinator import Coordinator
from muniflow_coordinator.foresight.fleet import stages_of
from muniflow_coordinator.handlers.senders import Senders
from muniflow_coordinator.handlers.step_users import StepUsers
from muniflow_coordinator.metrics import Metrics
from muniflow_coordinator.resources import Resources, Stores
from muniflow_coordinator.retry_queue import GiveUp
from muniflow_coordinator.runs.rates import StepRates
from muniflow_coordinator.settings import CoordinatorSettings
from muniflow_coordinator.webhooks.courier import Webhooks

AWAKE_S = 15.0
COORDINATOR, WORKERS = "coordinator", "workers"
"""The users of the broker as whom processes connect."""
USER = "operator"
"""The user of the broker who sends batches and commands."""
CHARGED = Budgets(BudgetSettings(day_budget=Budget(megapixels=1e9)), ImageLimits(max_growth=1_000))
"""Every batch is priced and charged, and none is too much: bad and missing sources count as the largest."""


STEPS = StepUsers(COORDINATOR, {WORKERS: frozenset(compute.OPERATIONS)})


@cache
def _coordinator_metrics() -> Metrics:
    return Metrics(CollectorRegistry())  # nothing here reads them, and making them takes longer than a short run


@cache
def _worker_metrics() -> WorkerMetrics:
    return WorkerMetrics(CollectorRegistry())


@dataclass(eq=False)
class Site:
    """Everything that processes share."""

    sim: Simulation
    broker: SimBroker
    database: Database
    locks: LockServer
    stores: compute.Stores
    coordinator_settings: CoordinatorSettings
    worker_settings: WorkerSettings
    broker_settings: BrokerSettings
    seconds_of: Callable[[Task], float]
    on_assembled: Callable[[Coordinator], None] = lambda _coordinator: None

    def failpoints(self, process: Process) -> Failpoints:
        """All places of the product: a process that is doomed at one dies there."""
        return Failpoints({place: partial(self.sim.reach, place, process) for place in PLACES})

    def waits(self, operation: str) -> bool:
        """Whether a task of an operation waits in a queue."""
        queues = self.broker.queues
        return any(queues[name].ready for name in work_queues(operation) if name in queues)

    def consumers(self, operation: str) -> int:
        return sum(work_queues(operation)[0] in line.consumers for line in self.broker.lines)


@dataclass(eq=False)
class Slot:
    """A place where one process runs after the other: a pod."""

    site: Site
    name: str
    process: Process = field(init=False)
    stopped: bool = False
    """Not started again."""
    _numbers: Any = field(default_factory=lambda: count(1))

    def start(self) -> None:
        """Start a new process."""
        if self.stopped:
            return
        self.process = Process(f"{self.name}.{next(self._numbers)}")
        self.process.on_death = partial(self.site.broker.died, self.process)
        self.site.sim.say(self.process.name, "starts")
        process = self.process
        self.site.sim.soon(process, lambda: self.make(process, SimLoop(self.site.sim, process)))

    def make(self, process: Process, loop: SimLoop) -> None:
        raise NotImplementedError

    def drain(self) -> None:
        raise NotImplementedError

    @property
    def running(self) -> bool:
        return hasattr(self, "process") and self.process.alive

    def watch(self, every_s: float) -> None:
        """Start a process again some time after the last one has died, as Kubernetes does."""
        sim = self.site.sim
        if not self.stopped:
            if not self.running:
                sim.after(sim.dice.random() * every_s, self.start)
            sim.after(2 * every_s, lambda: self.watch(every_s))


@dataclass(eq=False)
class CoordinatorSlot(Slot):
    """One replica of the coordinator."""

    life: lifecycle.Process | None = None
    leads_s: float = 0.0

    @property
    def coordinator(self) -> Coordinator | None:
        return self.life.coordinator if self.running and self.life is not None else None

    @property
    def awake(self) -> bool:
        """Whether it has led for a while without a pause."""
        now_s = self.site.sim.monotonic_s()
        return self.running and now_s - max(self.leads_s, self.process.busy_until_s) > AWAKE_S

    def make(self, process: Process, loop: SimLoop) -> None:
        site, sim = self.site, self.site.sim
        failpoints = site.failpoints(process)
        state = site.database.state(failpoints)
        rates = StepRates(sim)
        given = Resources(
            loop=loop,
            clock=sim,
            new_executor=lambda _name, _threads: SimExecutor(sim, process),
            state=state,
            webhooks=Webhooks(state),
            stores=Stores(site.stores.source, site.stores.work, site.stores.output),
            metrics=_coordinator_metrics(),
            rates=rates,
            no_task_waits=lambda operation: not site.waits(operation),
            takes_express=lambda operation: bool(site.consumers(operation)),
            stages=stages_of((), compute.OPERATIONS),
            consumers=site.consumers,
            read_pictures=compute.read_pictures,
            senders=Senders(None, frozenset({USER}), "refuse", {}, own_user=COORDINATOR, steps=STEPS),
            budgets=CHARGED,
            failpoints=failpoints,
            name=process.name,
        )

        def made(give_up: GiveUp) -> Coordinator:
            transport = SimTransport(sim, site.broker, process, loop, settings=site.broker_settings, user=COORDINATOR)
            one = assemble(given, compute.OPERATIONS, site.coordinator_settings, transport, give_up)
            site.on_assembled(one)
            self.leads_s = sim.monotonic_s()
            sim.say(process.name, "leads")
            return one

        lock = SimLock(sim, site.database, process, site.locks)
        self.life = lifecycle.Process(loop, sim, state, lock=lock, repeater=InlineRepeater(loop), make=made)
        self.life.start()

    def drain(self) -> None:
        if self.running and self.life is not None:
            life = self.life
            self.site.sim.say(self.process.name, "is asked to end")
            self.site.sim.soon(self.process, life.stop)


@dataclass(eq=False)
class WorkerSlot(Slot):
    """One replica of a worker."""

    operations: Sequence[str] = ()
    worker: Worker | None = None
    pool: SimPool | None = None

    @property
    def computes(self) -> bool:
        return self.running and self.pool is not None and self.pool.busy

    def make(self, process: Process, loop: SimLoop) -> None:
        site, sim = self.site, self.site.sim
        operations, settings = tuple(self.operations), site.worker_settings
        self.pool = SimPool(
            sim,
            process,
            site.stores,
            operations,
            settings.children,
            site.seconds_of,
            settings.compute_timeout_s,
            GROUP_STOP * settings.group_s,
        )
        self.worker = new_worker(
            loop,
            SimTransport(sim, site.broker, process, loop, settings=site.broker_settings, user=WORKERS),
            self.pool,
            operations=operations,
            settings=settings,
            metrics=_worker_metrics(),
            failpoints=site.failpoints(process),
            clock=sim,
            chance=sim.dice.random,
        )
        self.worker.run()

    def drain(self) -> None:
        if self.running and self.worker is not None:
            self.site.sim.say(self.process.name, "is asked to end")
            self.site.sim.soon(self.process, self.worker.stop)
