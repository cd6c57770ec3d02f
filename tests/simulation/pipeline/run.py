"""Runs one plan to its end."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.simulation.pipeline import compute
from tests.simulation.pipeline.broker import SimBroker
from tests.simulation.pipeline.checks import Account, Checks
from tests.simulation.pipeline.faults import Faults
from tests.simulation.pipeline.ledger import Database, LockServer
from tests.simulation.pipeline.plan import Plan
from tests.simulation.pipeline.processes import CoordinatorSlot, Site, Slot, WorkerSlot
from tests.simulation.pipeline.simulation import Simulation
from tests.simulation.pipeline.store import SimStore
from tests.simulation.pipeline.turns import Watch
from tests.simulation.pipeline.users import Users

from muniflow.runtime.settings import BrokerSettings
from muniflow.worker.settings import WorkerSettings
from muniflow_coordinator.handlers import image_list
from muniflow_coordinator.settings import CoordinatorSettings

RESTART_S = 3.0
"""Mean time until a process is started again."""
END_LIMIT_S = 1800.0
"""Every batch ends so long after the last fault."""
COMPUTE_LIMIT_S, UNFINISHED_AFTER_S = 120.0, 600.0
"""What a child writes after the end of a batch comes before the sweep."""
QUIET_S = 10.0
"""At the very end: nothing happens any more."""


@dataclass(frozen=True)
class Result:
    """What became of a plan."""

    plan: Plan
    account: Account
    violations: tuple[str, ...]
    digest: str
    lines: tuple[str, ...]
    events: int
    virtual_s: float
    cpu_s: float
    """Seconds of a core that the run took."""

    @property
    def passed(self) -> bool:
        return self.account.clean


@dataclass(eq=False)
class Town:
    """Everything of one run."""

    plan: Plan
    site: Site
    slots: dict[str, Slot]
    users: Users
    checks: Checks

    @property
    def ended(self) -> bool:
        return not self.users.busy and all(self.checks.ended(plan) for plan in self.plan.batches)

    @property
    def quiet(self) -> bool:
        """Whether nothing is under way any more, nor may write anything later.

        A batch that had ended may run again: its user reads the end a little later, and asks for its failed images.
        """
        workers = (slot for slot in self.slots.values() if isinstance(slot, WorkerSlot))
        return self.ended and self.checks.quiet and not any(worker.computes for worker in workers)


def build(plan: Plan) -> Town:
    """Everything that a plan names, at its start."""
    sim = Simulation(plan.seed)
    stores = compute.Stores(*(SimStore(sim, name) for name in ("source", "work", "output")))
    site = Site(
        sim=sim,
        broker=SimBroker(sim),
        database=Database(sim),
        locks=LockServer(),
        stores=stores,
        coordinator_settings=_settings(plan),
        worker_settings=WorkerSettings(children=2, compute_timeout_s=COMPUTE_LIMIT_S),
        broker_settings=BrokerSettings(),
        seconds_of=lambda _task: plan.task_s * sim.dice.uniform(0.5, 2.0),
    )
    slots: dict[str, Slot] = {}
    for number in range(plan.coordinators):
        slots[f"coordinator{number}"] = CoordinatorSlot(site, f"coordinator{number}")
    for number, operations in enumerate(plan.workers):
        slots[f"worker{number}"] = WorkerSlot(site, f"worker{number}", operations=operations)
    checks = Checks(site, plan.batches)
    users = Users(site, plan.batches, checks.on_notice)
    site.on_assembled = lambda one: Watch(sim, site.coordinator_settings, one).begin()
    for slot in slots.values():
        slot.watch(RESTART_S)

    def on_alarm_ends(lasted_s: float) -> None:
        leaders = (slot.coordinator for slot in slots.values() if isinstance(slot, CoordinatorSlot) and slot.awake)
        checks.on_alarm_ends(leaders, lasted_s)

    Faults(site, slots, on_alarm_ends).plan(plan.faults)
    return Town(plan, site, slots, users, checks)


def _settings(plan: Plan) -> CoordinatorSettings:
    return CoordinatorSettings(
        window_images=plan.window_images,
        window_total=plan.window_total,
        window_gib=plan.window_gib,
        express_images=plan.express_images,
        redispatch_after_s=0.0,
        unfinished_after_s=UNFINISHED_AFTER_S,
    )


def run(plan: Plan, *, wordy: bool = False, hasty: bool = False) -> Result:
    """Run a plan until every batch has ended and all is quiet.

    Args:
        plan: what happens.
        wordy: whether the trace has all messages.
        hasty: whether the first violation ends the run.
    """
    logging.disable(logging.CRITICAL)
    began_s, chunk = time.process_time(), image_list.CHUNK
    town = build(plan)
    image_list.CHUNK = plan.chunk
    try:
        town.site.sim.wordy = wordy
        if hasty:
            town.site.sim.most_wrong = 0
        sim = town.site.sim
        faults_s = max((fault.at_s + fault.seconds for fault in plan.faults), default=0.0)
        if sim.run(_seldom(sim, lambda: town.ended), faults_s + END_LIMIT_S):
            sim.run(_seldom(sim, lambda: town.quiet), max(sim.monotonic_s(), faults_s) + END_LIMIT_S)
            sim.run(lambda: False, sim.monotonic_s() + QUIET_S)
            sim.run(_seldom(sim, lambda: town.quiet), sim.monotonic_s() + END_LIMIT_S)
        account = town.checks.conclude(town.users)
    finally:
        town.site.database.end()
        image_list.CHUNK = chunk
        logging.disable(logging.NOTSET)
    return Result(
        plan, account, tuple(sim.wrong), sim.trace.digest, tuple(sim.trace.lines), sim.events,
        sim.monotonic_s(), time.process_time() - began_s,
    )  # fmt: skip


def _seldom(sim: Simulation, ended: Callable[[], bool]) -> Callable[[], bool]:
    """Ask once a second of virtual time."""
    asked_s = -1.0

    def ask() -> bool:
        nonlocal asked_s
        if sim.monotonic_s() - asked_s < 1.0:
            return False
        asked_s = sim.monotonic_s()
        return ended()

    return ask
