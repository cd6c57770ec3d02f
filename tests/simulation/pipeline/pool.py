"""Compute children in the simulation: a `Pool` whose groups take virtual time."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from tests.simulation.pipeline.compute import SimTask, Stores
from tests.simulation.pipeline.simulation import Event, Killed, Process, Simulation

from muniflow.compute.groups import GroupResult, Span, result_of
from muniflow.compute.outcome import Outcome, disposition_of, failed_whole
from muniflow.compute.pending import MAX_ASSIGNMENTS, PendingTask
from muniflow.compute.types import PoolEvents
from muniflow.errors import MuniflowError, Unavailable
from muniflow.model.messages import Task

START_S = 0.3
RESTART_S = 0.2
PHASE_S = 0.003
"""Mean time of reading, writing and syncing."""


@dataclass(eq=False)
class Group:
    """Tasks that one child computes."""

    tasks: list[Task]
    on_done: Callable[[GroupResult], None]
    early: bool
    runs: list[SimTask] = field(default_factory=list)
    began_at: float = 0.0
    spans: list[Span] = field(default_factory=list)
    unbegun: list[Task] = field(default_factory=list)


@dataclass(eq=False)
class SimPool:
    """The children of one worker."""

    sim: Simulation
    process: Process
    stores: Stores
    carried: Sequence[str]
    children: int
    seconds_of: Callable[[Task], float]
    limit_s: float
    """No phase of a group takes longer: the product kills a child that takes longer for one task."""
    stop_s: float
    """After which no further task of a group is computed."""
    durable: bool = True
    events: PoolEvents = field(default_factory=PoolEvents)
    device: str = "simulated"
    _hands: list[deque[Group]] = field(default_factory=list)
    _waiting: deque[Group] = field(default_factory=deque)
    _next: dict[int, Event] = field(default_factory=dict)
    """What each child does next."""
    _stopped: bool = False

    def start(self) -> None:
        self.sim.after(START_S, self._started, self.process)

    def _started(self) -> None:
        self._hands = [deque() for _ in range(self.children)]
        self.events.on_ready()

    @property
    def idle(self) -> int:
        return self._free(1)

    @property
    def room(self) -> int:
        return self._free(MAX_ASSIGNMENTS)

    @property
    def busy(self) -> bool:
        """Whether a child computes, perhaps what nobody waits for any more."""
        return bool(self._next or self._waiting)

    def submit(
        self, tasks: Sequence[PendingTask], on_done: Callable[[GroupResult], None], *, early: bool = False
    ) -> None:
        self._waiting.append(Group([pending.task for pending in tasks], on_done, early))
        self._hand_out()

    def stop(self, on_stopped: Callable[[], None]) -> None:
        self._stopped = True
        on_stopped()

    def crash(self) -> None:
        """A child dies and computes what it had once more."""
        if self._next:
            child = self.sim.dice.choice(sorted(self._next))
            self._next.pop(child).work = None
            self.sim.say(self.process.name, "a compute child dies")
            self.events.on_death("simulated")
            self._then(child, RESTART_S, self._begin)

    def _free(self, groups: int) -> int:
        free = sum(max(groups - len(hand), 0) for hand in self._hands)
        return max(free - len(self._waiting), 0)

    def _hand_out(self) -> None:
        for held in range(MAX_ASSIGNMENTS):
            for child, hand in enumerate(self._hands):
                if self._waiting and len(hand) == held and (held == 0 or self._waiting[0].early):
                    hand.append(self._waiting.popleft())
                    if not held:
                        self._then(child, PHASE_S, self._begin)

    def _then(self, child: int, mean_s: float, work: Callable[[int], None]) -> None:
        delay_s = min(self.sim.dice.expovariate(1 / mean_s) * self.sim.slow, self.limit_s)
        self._next[child] = self.sim.after(delay_s, lambda: None if self._stopped else work(child), self.process)

    def _begin(self, child: int) -> None:
        group = self._hands[child][0]
        group.began_at = self.sim.now_s()
        group.runs = [SimTask(task, self.stores, self.carried) for task in group.tasks]
        for run in group.runs:
            run.phase(run.read)
        self.sim.reach("child.read", self.process)
        seconds = [self.seconds_of(run.task) if run.ended is None else 0.001 for run in group.runs]
        group.spans = [Span(group.began_at, each) for each in seconds]
        begun = sum(before_s <= self.stop_s for before_s in accumulate(seconds[:-1], initial=0.0))
        group.unbegun = group.tasks[begun:]
        group.runs, group.spans = group.runs[:begun], group.spans[:begun]
        self._then(child, sum(seconds[:begun]), self._computed)

    def _computed(self, child: int) -> None:
        group = self._hands[child][0]
        for run in group.runs:
            if run.killer:
                self.sim.say(self.process.name, f"is killed by {run.task.source}")
                raise Killed
            run.phase(run.write)
        self.sim.reach("child.written", self.process)
        self._then(child, PHASE_S, self._sync)

    def _sync(self, child: int) -> None:
        group = self._hands[child][0]
        results = [(run.task, run.outcome()) for run in group.runs]
        if self.durable:
            results = self._made_durable(results)
        self.sim.reach("child.synced", self.process)
        self._then(child, PHASE_S, lambda child: self._end(child, group, results))

    def _made_durable(self, results: list[tuple[Task, Outcome]]) -> list[tuple[Task, Outcome]]:
        keys = [key for _, outcome in results for key in outcome.outputs]
        try:
            if keys:
                self.stores.output.sync(keys)
        except MuniflowError as error:
            away = Unavailable("blob store", str(error))
            return [(task, failed_whole(task, disposition_of(away, task.attempt))) for task, _ in results]
        return results

    def _end(self, child: int, group: Group, results: list[tuple[Task, Outcome]]) -> None:
        hand = self._hands[child]
        hand.popleft()
        self._next.pop(child, None)
        result = result_of(results, group.spans, self.sim.now_s())
        result.sources, result.unbegun = group.tasks[: len(results)], group.unbegun
        if hand:
            self._then(child, PHASE_S, self._begin)
        group.on_done(result)
        self._hand_out()
        if self.room:
            self.events.on_idle()
