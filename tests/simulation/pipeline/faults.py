"""Carries out the faults of a plan."""

from collections.abc import Callable, Mapping

from tests.simulation.pipeline.plan import FaultPlan
from tests.simulation.pipeline.processes import Site, Slot, WorkerSlot
from tests.simulation.pipeline.store import SimStore

SLOW, COMMIT_S = 50.0, 1.5
HEARTBEATS = 2
"""A broker cuts a line after so many missed ones."""


class Faults:
    """The faults of one run."""

    def __init__(self, site: Site, slots: Mapping[str, Slot], on_alarm_ends: Callable[[float], None]) -> None:
        self.site, self.slots = site, slots
        self.sim = site.sim
        self._on_alarm_ends = on_alarm_ends
        self._kinds: dict[str, Callable[[FaultPlan], None]] = {
            "kill": self._kill,
            "kill at": self._doom,
            "freeze": self._freeze,
            "drain": lambda fault: self.slots[fault.target].drain(),
            "cut": self._cut,
            "child": self._child,
            "cut at publish": self._cut_at_publish,
            "broker killed at publish": self._doom_broker,
            "broker killed": self._broker_killed,
            "broker blocked": self._broker_blocked,
            "store away": self._store_away,
            "store loses power": self._store_loses_power,
            "stores slow": self._stores_slow,
            "ledger slow": self._ledger_slow,
            "ledger away": self._ledger_away,
            "ledger doubt": lambda fault: self.site.database.doubts.append(fault.target),
        }

    def plan(self, faults: tuple[FaultPlan, ...]) -> None:
        """Let each come at its time."""
        for fault in faults:
            self.sim.after(fault.at_s, lambda fault=fault: self._come(fault))  # type: ignore[misc]

    def _come(self, fault: FaultPlan) -> None:
        if fault.target not in self.slots or self.slots[fault.target].running:
            self.sim.say("fault", f"{fault.kind} {fault.target} {fault.place} {fault.seconds:.1f}")
            self._kinds[fault.kind](fault)

    def _kill(self, fault: FaultPlan) -> None:
        self.sim.kill(self.slots[fault.target].process)

    def _doom(self, fault: FaultPlan) -> None:
        self.slots[fault.target].process.doomed[fault.place] = int(fault.seconds)

    def _freeze(self, fault: FaultPlan) -> None:
        process = self.slots[fault.target].process
        until_s = self.sim.monotonic_s() + fault.seconds
        process.busy_until_s = max(process.busy_until_s, until_s)
        silent_s = HEARTBEATS * self.site.broker_settings.heartbeat_s
        if fault.seconds > silent_s:
            self.sim.after(silent_s, lambda: self._cut(FaultPlan(0.0, "cut", fault.target)))

    def _cut(self, fault: FaultPlan) -> None:
        process = self.slots[fault.target].process
        for line in [line for line in self.site.broker.lines if line.process is process]:
            self.site.broker.cut(line, "the line was cut", fault.seconds)

    def _cut_at_publish(self, fault: FaultPlan) -> None:
        """Before or after the broker has the message, or has confirmed it."""
        delay_s = self.sim.dice.random() * 0.012
        process = self.slots[fault.target].process
        process.on_publish = lambda: self.sim.after(delay_s, lambda: self._cut(fault))

    def _doom_broker(self, fault: FaultPlan) -> None:
        self.site.broker.doomed_s = fault.seconds

    def _child(self, fault: FaultPlan) -> None:
        slot = self.slots[fault.target]
        if isinstance(slot, WorkerSlot) and slot.pool is not None and slot.process.busy_until_s == 0.0:
            slot.pool.crash()

    def _broker_killed(self, fault: FaultPlan) -> None:
        if self.site.broker.up:
            self.site.broker.crash(fault.seconds)

    def _broker_blocked(self, fault: FaultPlan) -> None:
        broker = self.site.broker
        if broker.alarm is None:
            broker.block("memory alarm")
            self.sim.after(fault.seconds - 0.001, lambda: self._on_alarm_ends(fault.seconds))
            self.sim.after(fault.seconds, broker.unblock)

    def _store(self, name: str) -> SimStore:
        store: SimStore = getattr(self.site.stores, name)
        return store

    def _store_away(self, fault: FaultPlan) -> None:
        store = self._store(fault.target)
        store.away = "No space left on device"
        self.sim.after(fault.seconds, lambda: self._store_back(store))

    def _store_back(self, store: SimStore) -> None:
        store.away = None
        self.sim.say(f"store {store.name}", "is back")

    def _store_loses_power(self, fault: FaultPlan) -> None:
        store = self._store(fault.target)
        self.sim.say(f"store {store.name}", f"lost {store.lose_power()} blobs that were not synced")
        self._store_away(fault)

    def _stores_slow(self, fault: FaultPlan) -> None:
        self.sim.slow = SLOW

        def usual() -> None:
            self.sim.slow = 1.0

        self.sim.after(fault.seconds, usual)

    def _ledger_slow(self, fault: FaultPlan) -> None:
        database = self.site.database
        database.slow_s = COMMIT_S

        def usual() -> None:
            database.slow_s = 0.0

        self.sim.after(fault.seconds, usual)

    def _ledger_away(self, fault: FaultPlan) -> None:
        database = self.site.database
        database.away = "database is locked"
        self.sim.after(fault.seconds, self._ledger_back)

    def _ledger_back(self) -> None:
        self.site.database.away = None
        self.sim.say("ledger", "is back")
