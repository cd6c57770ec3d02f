"""What the coordinator does for a city: it learns service times, says how many replicas it wants, sets the windows,
forecasts each batch at its acceptance and grades that at its end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.simulation.scaling.autoscaler import SYNC_S
from tests.simulation.scaling.pipeline import Flow

from muniflow.forecast.completion import finish_s
from muniflow.forecast.grade import Forecast, Grade, learned
from muniflow.forecast.interval import WINDOW
from muniflow.forecast.load import BatchLoad, Capacity
from muniflow.forecast.replicas import MARGIN, Demand, Due, Running, demand
from muniflow.forecast.service_time import ServiceTime, Sums, fit
from muniflow.forecast.stage import Stage
from muniflow.forecast.work import StageWork, correction, seconds_of
from muniflow_coordinator.foresight.arrivals import Arrivals
from muniflow_coordinator.runs.window import AllWindows, WindowNeed, windows_of

PRIOR = {"resize": ServiceTime(0.002, 0.02, 0.0), "split": ServiceTime(0.002, 0.01, 0.0),
         "blur": ServiceTime(0.002, 0.01, 0.0)}  # fmt: skip
"""Defaults that are wrong by a factor of 0.5 to 2.5, as those of another machine are."""
BUDGET_BYTES = 32 * 2**30
WINDOW_IMAGES = 100_000
"""The chart's defaults."""
BYTES_PER_MP = 3e6
TURNS_TO_FIT = 4
"""A minute: the coordinator fits at each turn, which costs much and says little more."""

Replicas = Mapping[str, float | None]
Lefts = Sequence[tuple[Flow, Mapping[str, StageWork]]]
"""Batches, and what they still need of each stage."""


class Answer(NamedTuple):
    """What the coordinator says at one moment."""

    wanted: Replicas
    """By stage; `None`: it cannot be read."""
    windows: AllWindows


class Named(NamedTuple):
    """What was said of a batch at its acceptance, and what was right then."""

    due_s: float
    """From its acceptance, as all here."""
    earliest_s: float
    true_earliest_s: float
    """The same with the true service times, and for the batch itself with those of its classes: by how much it is off
    them only its own tasks show."""

    @property
    def infeasible(self) -> bool:
        """Whether it was named."""
        return self.earliest_s > self.due_s


@dataclass
class Forecaster:
    """As `muniflow_coordinator.foresight`; with `knows`, service times are the true ones; `always_max` scales so."""

    stages: Sequence[Stage]
    knows: bool = False
    margin: float = MARGIN
    always_max: bool = False
    late: set[str] = field(default_factory=set)
    """Batches that were named as late while they ran."""
    named: dict[str, Named] = field(default_factory=dict)
    grades: list[Grade] = field(default_factory=list)
    _times: dict[str, Sums] = field(default_factory=dict)
    _own: dict[tuple[str, str], Sums] = field(default_factory=dict)
    _seen: dict[tuple[str, int], float] = field(default_factory=dict)
    _asked: dict[str, int] = field(default_factory=dict)
    _fitted: dict[str, ServiceTime] = field(default_factory=lambda: dict(PRIOR))
    _turns: int = 0
    _forecasts: dict[str, tuple[Flow, Forecast]] = field(default_factory=dict)
    _arrivals: Arrivals = field(default_factory=Arrivals)

    def turn(self, now_s: float, flows: Sequence[Flow], running: Mapping[str, int], pace: float = 1.0) -> Answer:
        """As `city.Turn`."""
        if not self.knows:
            self._learn(flows, pace)
        lefts = [(flow, self._left(flow)) for flow in flows if flow.ended_s is None]
        fleet = [Running(stage, running[stage.name], self._asked.get(stage.name)) for stage in self.stages]
        found = self._demand(now_s, lefts, fleet)
        self.late |= {one.batch for one in found.late}
        self._asked = {name: one.replicas for name, one in found.wanted.items()}
        if self.always_max:
            needed = {step for flow, _ in lefts for step in flow.job.route}
            self._asked = {one.name: one.max_replicas if one.name in needed else 0 for one in self.stages}
        if not self.knows:
            self._grade()
            self._accept(now_s, lefts, fleet, found)
        return Answer({name: float(asked) for name, asked in self._asked.items()}, self._windows(lefts, fleet))

    def _demand(self, now_s: float, lefts: Lefts, fleet: Sequence[Running]) -> Demand:
        dues = [Due(flow.job.id, flow.job.at_s, flow.job.due_s, seconds_of(left)) for flow, left in lefts]
        return demand(now_s, dues, fleet, self.margin)

    def _windows(self, lefts: Lefts, fleet: Sequence[Running]) -> AllWindows:
        needs = {flow.number: _window_need(flow, left) for flow, left in lefts}
        capacities = [
            Capacity(one.stage, one.at_work, max(self._asked[one.stage.name] - one.at_work, 0)) for one in fleet
        ]
        return windows_of(needs, capacities, BUDGET_BYTES, WINDOW_IMAGES)

    def _accept(self, now_s: float, lefts: Lefts, fleet: Sequence[Running], found: Demand) -> None:
        """Fix the forecast of each new batch, and note whether it is feasible."""
        capacities = [self._arrivals.capacity(one, self._asked[one.stage.name], now_s) for one in fleet]
        new = [flow for flow, _ in lefts if flow.job.id not in self.named]
        if not new:
            return
        ends_s = finish_s([_load(flow, left) for flow, left in lefts], capacities)
        lucks = [flow.job.luck if flow in new else 1.0 for flow, _ in lefts]
        rights = [(flow, _true(flow, luck)) for (flow, _), luck in zip(lefts, lucks, strict=True)]
        truth = self._demand(now_s, rights, fleet)
        for flow in new:
            job, earlier = flow.job, learned(self.grades[-WINDOW:])
            times = job.due_s, found.earliest_at[job.id], truth.earliest_at[job.id]
            self.named[job.id] = Named(*(at - job.at_s for at in times))
            if ends_s[job.id] < float("inf"):
                self._forecasts[job.id] = flow, Forecast.of(ends_s[job.id], now_s - job.at_s, earlier)

    def _grade(self) -> None:
        ended = [(flow.ended_s, flow, one) for flow, one in self._forecasts.values() if flow.ended_s is not None]
        for ended_s, flow, forecast in sorted(ended, key=lambda one: one[0]):
            self.grades.append(Grade(forecast, ended_s - flow.job.at_s))
            del self._forecasts[flow.job.id]

    def _left(self, flow: Flow) -> dict[str, StageWork]:
        if self.knows:
            return _true(flow)
        work = {}
        for n, step in enumerate(flow.job.route):
            time = self._fitted[step]
            own = self._own.get((flow.job.id, step), Sums())
            seconds = time.scaled(correction(time, own)).seconds(flow.job.megapixels, 0.0)
            work[step] = StageWork((flow.job.images - flow.passed[n]) * seconds, seconds, 1.0, seconds)
        return work

    def _learn(self, flows: Sequence[Flow], pace: float) -> None:
        self._turns += 1
        for flow in flows:
            for n, step in enumerate(flow.job.route):
                done = flow.passed[n] - self._seen.get((flow.job.id, n), 0.0)
                if done > 0:
                    first = step not in self._times
                    sums = Sums.of(flow.job.megapixels, 0.0, flow.seconds[n] / pace).decayed(done)
                    self._times[step] = self._times.get(step, Sums()).then(sums, SYNC_S)
                    key = flow.job.id, step
                    self._own[key] = self._own.get(key, Sums()) + sums
                    self._seen[flow.job.id, n] = flow.passed[n]
                    if first or self._turns % TURNS_TO_FIT == 0:
                        self._fitted[step] = fit(self._times[step], PRIOR[step])


def _true(flow: Flow, luck: float = 1.0) -> dict[str, StageWork]:
    """What is left of a batch with its own service times, or without its luck."""
    work = {}
    for n, step in enumerate(flow.job.route):
        seconds = flow.seconds[n] / luck
        work[step] = StageWork((flow.job.images - flow.passed[n]) * seconds, seconds, 1.0, seconds)
    return work


def _load(flow: Flow, left: Mapping[str, StageWork]) -> BatchLoad:
    images = max(flow.job.images - flow.passed[-1], 0.0)
    job = flow.job
    return BatchLoad(job.id, images, left, job.owner, job.priority, job.weight, job.express, job.due_s)


def _window_need(flow: Flow, left: Mapping[str, StageWork]) -> WindowNeed:
    """Raw pixels lie between two steps."""
    image_bytes = int(flow.job.megapixels * BYTES_PER_MP * (len(flow.job.route) - 1))
    return WindowNeed(left, flow.job.megapixels * 1e6, image_bytes)
