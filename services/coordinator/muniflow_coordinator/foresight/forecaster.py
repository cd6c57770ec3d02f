"""Works out, every `TURN_S` seconds, what all running batches still need, what each stage wants, and when they end."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

from muniflow.errors import Unavailable
from muniflow.forecast.completion import finish_s
from muniflow.forecast.grade import log_ratios
from muniflow.forecast.load import BatchLoad, Capacity
from muniflow.forecast.profile import Profile
from muniflow.forecast.replicas import Due, Running, demand
from muniflow.forecast.service_time import Sums
from muniflow.forecast.stage import Stage, Stages
from muniflow.forecast.work import Part, StageWork, seconds_of
from muniflow.model.operation import Operations
from muniflow.model.report import ForecastEntry
from muniflow.planning.fleet import Fleet
from muniflow.runtime.clock import Clock
from muniflow.runtime.loop import Every, Loop
from muniflow_coordinator.foresight.arrivals import Arrivals
from muniflow_coordinator.foresight.deadlines import Deadlines
from muniflow_coordinator.foresight.ends import End, ends_of, unknown
from muniflow_coordinator.foresight.fleet import counted_operation
from muniflow_coordinator.foresight.followed import FollowedBatch, FollowedBatches
from muniflow_coordinator.foresight.forecasts import Forecasts
from muniflow_coordinator.foresight.outlook import Outlook, outlook_of
from muniflow_coordinator.foresight.remaining import Position, remaining
from muniflow_coordinator.foresight.sampler import Sampler
from muniflow_coordinator.foresight.windows import Windows
from muniflow_coordinator.retry_queue import RetryQueue
from muniflow_coordinator.runs.rates import PAUSE_GAPS, PAUSE_S, WINDOW_S
from muniflow_coordinator.runs.runs import Run, Runs

log = logging.getLogger(__name__)

TURN_S = 2.0
AT_ACCEPTANCE_S = 2 * TURN_S
"""A forecast that is made so soon is that of the whole batch, as a plan makes it. What workers have done is told some
tenths of a second late: with only the rest counted, forecasts were longer than plans, which are corrected by their
grades (docs/research/performance.md)."""
SOON_S = 0.25
"""A turn comes so soon after the sizes of a batch became known, or a deadline was asked for: many share one."""

Consumers = Callable[[str], int | None]
"""How many consume the tasks of an operation; `None`: not known."""
ReadProfile = Callable[[], Profile]
"""What is known of service times now."""
ReadOwn = Callable[[str], Mapping[str, Sums]]
"""What a batch itself showed of them, by its id."""

NO_SIZES = "the sizes of its images are not known yet"


@dataclass(eq=False)
class Forecaster:
    """Follows the runs of a leading coordinator. On the loop, but for `outlook`, `fleet` and `end_of`."""

    loop: Loop
    clock: Clock
    retry_queue: RetryQueue
    runs: Runs
    sampler: Sampler
    operations: Operations
    stages: Stages
    """Those that are told what they want."""
    consumers: Consumers
    profile: ReadProfile
    own: ReadOwn
    windows: Windows
    forecasts: Forecasts
    express_images: int
    """A batch of at most so many images is express."""
    shared_cores: float | None = None
    """Of the one machine on which all stages run, where it is one."""

    def __post_init__(self) -> None:
        """Begin without an answer."""
        self._batches = FollowedBatches(
            self.runs, self.sampler, self.operations, self.stages, self.windows, self.forecasts, self.express_images,
            self.hurry,
        )  # fmt: skip
        self.accepted = self._batches.accepted
        self._all_stages = self._batches.all_stages
        self._counted = {stage.name: counted_operation(stage, self._all_stages) for stage in self._all_stages}
        self.deadlines = Deadlines(self.loop, self.hurry)
        self._arrivals = Arrivals()
        self._ends: Mapping[str, End] = {}
        self._runs_since: Mapping[str, float] = {}
        """Since when each batch has a replica in each of its stages, without a break; unix seconds."""
        self._outlook: Outlook | None = None
        self._loads: Sequence[BatchLoad] = ()
        self._problem = f"just started: the first answer comes within {TURN_S:.0f} s"
        self._turns = Every(self.loop, TURN_S, self._try_turn)
        self._soon: Any = None

    def start(self) -> None:
        """Begin, with the first answer after one pause: until then queues are polled and waiting batches arrive."""
        self._turns.start()

    def stop(self) -> None:
        """Stop; nothing is known any more."""
        self._turns.stop()
        self._outlook, self._problem = None, "stopped"

    def outlook(self) -> Outlook:
        """Return the last answer. From any thread.

        Raises:
            Unavailable: there is none, with the reason.
        """
        outlook, reason = self._outlook, self.retry_queue.waiting_for or self._problem
        if outlook is None or self.retry_queue.waiting_for is not None:
            raise Unavailable("the forecast", reason)
        return outlook

    @property
    def loads(self) -> Sequence[BatchLoad]:
        """Return what all running batches still needed at the last turn. From any thread."""
        return self._loads

    def fleet(self) -> Fleet:
        """Return what a batch that may be sent would meet, as of the last turn. From any thread.

        Raises:
            Unavailable: it is not known, with the reason.
        """
        outlook, loads = self.outlook(), self._loads
        running = {name: stage.wanted if stage.running is None else stage.running for name, stage in outlook.items()}
        # A batch that ended since the last turn needs nothing more.
        loads = [load for load in loads if load.batch in self.runs]
        grades = log_ratios(self.forecasts.grades)
        return Fleet(self.stages, "", running, self.shared_cores, loads, grades, self.express_images)

    def end_of(self, batch_id: str) -> End:
        """Return when a running batch ends, as of the last turn. From any thread."""
        try:
            self.outlook()
        except Unavailable as error:
            return unknown(str(error))
        return self._ends.get(batch_id) or unknown("just accepted: the first forecast is being made")

    def unbegun_s(self, run: Run) -> float | None:
        """Return for how long workers could have settled the first image of a batch, if that is far too long.

        From any thread. A worker that hangs keeps its place in the queue, and a forecast would say "soon" for ever.
        """
        since, end = self._runs_since.get(run.id), self._ends.get(run.id)
        if since is None or end is None or end.in_s is None:
            return None
        passed_s = self.clock.now_s() - since
        first_s = WINDOW_S + PAUSE_GAPS * end.in_s / max(run.counts.total, 1)
        return passed_s if passed_s > max(PAUSE_S, min(2 * end.in_s, first_s)) else None

    def entry(self, run: Run, actual_s: float) -> ForecastEntry:
        """Return what the report of a batch says of its forecast; it took `actual_s` seconds."""
        end = self._ends.get(run.id)
        reason = end.reason if end is not None and end.reason else "the batch ended before one could be made"
        return self.forecasts.entry(run, actual_s, reason)

    def hurry(self) -> None:
        """Make a turn soon; for several that ask meanwhile there is one.

        Not before the first turn, which waits for what queues say.
        """
        if self._soon is None and self._outlook is not None:
            self._soon = self.loop.call_later(SOON_S, self._on_soon)

    def turn(self) -> None:
        """Work everything out now."""
        now = self.clock.now_s()
        fleet = tuple(self._running(stage) for stage in self.stages)
        profile = self.profile()
        lefts = [(batch, self._left(batch, profile)) for batch in self._batches.follow()]
        dues = [Due(batch.run.id, batch.run.accepted_at, batch.due_at, seconds_of(left)) for batch, left in lefts]
        found = demand(now, dues, fleet)
        self._outlook = outlook_of(found, fleet)
        self._loads = tuple(batch.load(left, self._parts(batch, batch.position, profile)) for batch, left in lefts)
        self.windows.follow({batch.run.number: batch.window_need(left) for batch, left in lefts}, fleet, self._outlook)
        known = [batch.run.id for batch, _ in lefts if batch.sampled and batch.carried]
        self.deadlines.learn({batch: found.earliest_at[batch] for batch in known})
        running = [self._running(stage) for stage in self._all_stages]
        capacities = self._capacities(running)
        batches = [batch for batch, _ in lefts]
        self._ends = self._all_ends(batches, running, capacities, now)
        manned = {one.stage.name for one in running if one.replicas}
        begun = [load.batch for load in self._loads if manned.issuperset(load.stages)]
        self._runs_since = {batch: self._runs_since.get(batch, now) for batch in begun}
        self._fix_forecasts(batches, capacities, profile, now)

    def _on_soon(self) -> None:
        self._soon = None
        self._try_turn()

    def _try_turn(self) -> None:
        if self._turns.stopped:
            return
        try:
            self.turn()
        except Exception as error:
            # What is wrong with a forecast must not stop the coordinator.
            if self._outlook is not None or "internal" not in self._problem:
                log.exception("cannot forecast")
            self._outlook, self._problem = None, f"internal error: {type(error).__name__}: {error}"
            self.deadlines.learn({})

    def _left(self, batch: FollowedBatch, profile: Profile) -> Mapping[str, StageWork]:
        return self._left_from(batch, batch.position, profile, self.own(batch.run.id))

    def _whole(self, batch: FollowedBatch, profile: Profile) -> BatchLoad:
        """Return what a batch needed at its acceptance, by what was known beside it."""
        images = batch.run.counts.total
        start = Position(images, images, 0, (0,) * len(batch.run.batch.route))
        left = self._left_from(batch, start, profile, {})
        return replace(batch.load(left, self._parts(batch, start, profile)), images=float(images), in_flight=0.0)

    def _parts(self, batch: FollowedBatch, position: Position, profile: Profile) -> Sequence[Part]:
        # Where each replica has cores of its own nothing follows from them.
        return () if self.shared_cores is None else batch.work.parts(profile, position.settled)

    def _left_from(
        self, batch: FollowedBatch, position: Position, profile: Profile, own: Mapping[str, Sums]
    ) -> Mapping[str, StageWork]:
        return remaining(batch.work, batch.run.batch.route, position, self._all_stages, profile=profile, own=own)

    def _capacities(self, running: Sequence[Running]) -> list[Capacity]:
        """Return the replicas that run, and those that are about to."""
        now_s, outlook = self.clock.monotonic_s(), self._outlook or {}
        return [
            self._arrivals.capacity(one, outlook[one.stage.name].wanted if one.stage.name in outlook else 0, now_s)
            for one in running
        ]

    def _all_ends(
        self, batches: Sequence[FollowedBatch], running: Sequence[Running], capacities: Sequence[Capacity], now: float
    ) -> Mapping[str, End]:
        """Return when each batch ends with these replicas."""
        # Where two stages share a queue, what is wanted stands in for what runs.
        uncounted = [one.stage.name for one in running if one.replicas is None and self._counted[one.stage.name]]
        begun = [batch.run.id for batch in batches if any(batch.position.handled)]
        found = ends_of(
            self._loads, capacities, uncounted, self.forecasts.interval,
            begun=begun, now_at=now, cores=self.shared_cores,
        )  # fmt: skip
        return found | {batch.run.id: unknown(NO_SIZES) for batch in batches if not batch.sampled}

    def _fix_forecasts(
        self, batches: Sequence[FollowedBatch], capacities: Sequence[Capacity], profile: Profile, now: float
    ) -> None:
        """Fix the forecast of each batch that has none and can have one.

        At first not beside one whose sizes are being read: until then these are guessed, and it is the forecast that
        is graded.
        """
        unread_at = min((batch.run.accepted_at for batch in batches if not batch.sampled), default=inf)
        lacking = [
            (batch, now - batch.run.submitted_at, in_s)
            for batch in batches
            if self.forecasts.lacks(batch.run) and (in_s := self._ends[batch.run.id].in_s) is not None
        ]
        new = [
            batch
            for batch, passed_s, _ in lacking
            if passed_s <= AT_ACCEPTANCE_S and batch.run.accepted_at + SOON_S < unread_at
        ]
        wholes = {batch.run.id: self._whole(batch, profile) for batch in new}
        loads = [wholes.get(load.batch, load) for load in self._loads]
        wholes_s = finish_s(loads, capacities, self.shared_cores) if wholes else {}
        for batch, passed_s, in_s in lacking:
            if batch.run.id in wholes:
                self.forecasts.fix(batch.run, wholes_s[batch.run.id], 0.0)
            elif passed_s > AT_ACCEPTANCE_S:
                self.forecasts.fix(batch.run, in_s, passed_s)

    def _running(self, stage: Stage) -> Running:
        operation = self._counted[stage.name]
        consumers = None if operation is None else self.consumers(operation)
        before = self._outlook[stage.name].wanted if self._outlook and stage.name in self._outlook else None
        return Running(stage, consumers, before)
