"""Whether running batches can meet their deadlines. On the loop, but for `of`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from muniflow.runtime.loop import Loop
from muniflow_coordinator.runs.runs import Run

SIZES_WAIT_S = 3.0
"""The notice of a new batch waits at most so long for the sizes of its images."""


class Feasibility(NamedTuple):
    """What is known of a batch's deadline; `None`: it has none, or it is not known."""

    deadline_at: float | None = None
    feasible: bool | None = None
    """Whether it can end by then with `max` replicas in every stage."""
    earliest_at: float | None = None
    """When it could end with these; unix seconds."""


@dataclass(eq=False)
class _Wait:
    run: Run
    then: Callable[[], None]


@dataclass(eq=False)
class Deadlines:
    """The deadlines of all running batches, as of the last turn of the forecaster."""

    loop: Loop
    hurry: Callable[[], None]
    """Asks the forecaster for a turn soon."""
    _earliest: Mapping[str, float] = field(init=False, default_factory=dict)
    _waits: list[_Wait] = field(init=False, default_factory=list)

    def of(self, run: Run) -> Feasibility:
        """Return the feasibility of a batch. From any thread."""
        deadline_at = run.batch.deadline_at
        earliest_at = self._earliest.get(run.id)
        if deadline_at is None or earliest_at is None or run.state != "running":
            return Feasibility(deadline_at)
        return Feasibility(deadline_at, earliest_at <= deadline_at, earliest_at)

    def when_known(self, run: Run, then: Callable[[], None]) -> None:
        """Call `then` once it is known of a new batch, or after `SIZES_WAIT_S`; at once without a deadline."""
        if run.batch.deadline_at is None or run.id in self._earliest:
            then()
            return
        wait = _Wait(run, then)
        self._waits.append(wait)
        self.loop.call_later(SIZES_WAIT_S, lambda: self._end([wait] if wait in self._waits else []))
        self.hurry()

    def before(self, then: Callable[[Run], None]) -> Callable[[Run], None]:
        """Return `then` for batches that end: who still waits for one is called first, so it is answered before."""

        def end(run: Run) -> None:
            for wait in [wait for wait in self._waits if wait.run is run]:
                self._waits.remove(wait)
                wait.then()
            then(run)

        return end

    def learn(self, earliest: Mapping[str, float]) -> None:
        """Take what a turn found: when each batch could end whose images' sizes are known; unix seconds."""
        self._earliest = earliest
        self._end([wait for wait in self._waits if wait.run.id in earliest or wait.run.state != "running"])

    def _end(self, waits: list[_Wait]) -> None:
        for wait in waits:
            self._waits.remove(wait)
            wait.then()
