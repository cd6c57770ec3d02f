"""Watches the turns of a coordinator: windows and budgets are kept, and nobody waits too long."""

from dataclasses import dataclass, field
from typing import Any

from tests.simulation.pipeline.simulation import Simulation

from muniflow_coordinator.coordinator import Coordinator
from muniflow_coordinator.runs.scheduler import Scheduler
from muniflow_coordinator.runs.turns import Entry
from muniflow_coordinator.settings import CoordinatorSettings


@dataclass(eq=False)
class Watch:
    """The turns of one term of one coordinator."""

    sim: Simulation
    settings: CoordinatorSettings
    coordinator: Coordinator
    _waits: dict[int, int] = field(default_factory=dict)
    """Turns of others since its last one, of batches that could have had them."""

    def begin(self) -> None:
        """Look at each turn from now on."""
        scheduler: Any = self.coordinator.dispatcher.scheduler
        take = scheduler.take

        def watched() -> int | None:
            number: int | None = take()
            if number is not None:
                self._taken(scheduler, number)
            return number

        scheduler.take = watched

    def _taken(self, scheduler: Scheduler, number: int) -> None:
        entry = scheduler._entries[number]
        run = self.coordinator.dispatcher.runs.numbered(number)
        if entry.in_flight > entry.window:
            self.sim.violated(f"batch {number} has {entry.in_flight} images in flight; its window is {entry.window}")
        if run is not None and len(run.in_flight) + 1 != entry.in_flight:
            self.sim.violated(
                f"batch {number} has {len(run.in_flight) + 1} images in flight, and {entry.in_flight} count"
            )
        beyond = max(scheduler._express.in_flight - self.settings.express_images, 0)
        counted = scheduler._normal.in_flight + beyond
        if counted > self.settings.window_total and not entry.standing.express:
            self.sim.violated(f"{counted} images are in flight; the window is {self.settings.window_total}")
        normal = scheduler._normal
        if (
            not entry.standing.express
            and normal.bytes - entry.image_bytes > 0
            and normal.bytes > self.settings.window_bytes
        ):
            self.sim.violated(f"{normal.bytes} bytes are in flight; the budget is {self.settings.window_bytes}")
        self._fair(scheduler, entry)

    def _fair(self, scheduler: Scheduler, taken: Entry) -> None:
        """A batch of weight w among others of its priority with weights W waits for 3 W / w turns, and a few more."""
        same = [one for one in scheduler._entries.values() if self._alike(one, taken)]
        weights = sum(one.standing.weight for one in same)
        for one in same:
            waits = self._waits[one.batch] = 0 if one is taken or not one.open else self._waits.get(one.batch, 0) + 1
            most = 3 * weights / one.standing.weight + 6
            if waits > most:
                self.sim.violated(f"batch {one.batch} waits for {waits} turns; it should wait for {most:.0f}")

    @staticmethod
    def _alike(one: Entry, other: Entry) -> bool:
        mine, others = one.standing, other.standing
        return (mine.express, mine.owner, mine.priority) == (others.express, others.owner, others.priority)
