"""Which of several batches on one machine ends when: their windows, queues and processes, simulated in short steps.

The fluid model knows how long all of them take together, but not who has how much of it until then. That follows from
what waits in which queue: a queue is first in, first out, so who has more images in flight gets more of a stage, and
images that were there first go first. Workers with tasks share the cores as processes do, in equal parts.
"""

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from muniflow.forecast.load import BatchLoad, Capacity
from muniflow.forecast.shared_cores import TASK_S, free_cores
from muniflow.forecast.turn_rates import LOW_SHARE, OTHERS_SHARE, RANKS, BatchFlow, Group, turns, with_due_first
from muniflow.forecast.window import batch_window, total_window
from muniflow.forecast.work import Part
from muniflow.model.batch_document import Priority

STEP_S = 0.1
STEP_GROWTH = 0.01
"""A step is this part of the time before it at least, so that hours take no more than some hundred steps."""
WINDOW_STEP_S = 0.5
"""In longer steps windows are larger in proportion: else a step would end with idle workers."""
HOP_S = 0.1
"""Results wait so long for others before the next stage gets them."""
CHUNKS = 16
"""A batch dispatches this part of its window in one turn."""
STEPS_LIMIT = 5_000
BATCHES_LIMIT = 20
"""More are not simulated: two take some 10 ms of the coordinator's loop, and so many 20 ms."""
LEFT_IMAGES = 1e-3
"""Fewer are none: what is added up of many parcels is not exact."""
_ROUNDING = 1e-6


class _Part(NamedTuple):
    """Images of a batch, one after another, that take the same."""

    images: float
    image_s: Sequence[float]
    """Of CPU, in each stage of the route."""


@dataclass(eq=False)
class _Flow:
    """A batch."""

    load: BatchLoad
    route: Sequence[str]
    """Stages."""
    parts: deque[_Part]
    """That are not dispatched."""
    window: int
    left: float
    """Images that have not ended."""
    in_flight: float = 0.0
    passed: float = 0.0
    """Images dispatched, over its share of the turns."""


@dataclass(slots=True)
class _Parcel:
    """Images of one part that wait in the same queue."""

    flow: _Flow
    place: int
    """On the route."""
    image_s: Sequence[float]
    images: float


@dataclass
class _Queues:
    """Of one stage."""

    express: deque[_Parcel] = field(default_factory=deque)
    other: deque[_Parcel] = field(default_factory=deque)
    backlog_s: float = 0.0

    def add(self, parcel: _Parcel) -> None:
        (self.express if parcel.flow.load.express else self.other).append(parcel)
        self.backlog_s += parcel.images * parcel.image_s[parcel.place]


def simulated_s(loads: Sequence[BatchLoad], fleet: Sequence[Capacity], cores: float) -> dict[str, float]:
    """Seconds until each batch ends, right in relation to each other.

    Args:
        loads: batches that all stages of theirs have replicas for.
        fleet: the replicas of these.
        cores: that all of them share.
    """
    machine = _Machine([_flow(load, fleet) for load in loads], fleet, free_cores(cores))
    for _ in range(STEPS_LIMIT):
        if not machine.flows:
            break
        machine.step()
    return {load.batch: machine.ends_s.get(load.batch, machine.now_s) for load in loads}


def _flow(load: BatchLoad, fleet: Sequence[Capacity]) -> _Flow:
    needed = {stage: work for stage, work in load.stages.items() if work.work_s > 0}
    parts = [part for part in load.parts if part.images > 0 and part.image_s > 0] or [Part(load.images, 1.0)]
    images = sum(part.images for part in parts)
    work_s = sum(part.images * part.image_s for part in parts)
    found = [
        _Part(
            part.images * load.images / images,
            [
                work.work_s / load.images * part.image_s * images / work_s + TASK_S * work.tasks_per_image
                for work in needed.values()
            ],
        )
        for part in parts
    ]
    window = batch_window(load.stages, fleet, load.mean_pixels)
    return _Flow(load, tuple(needed), deque(found), window, load.images)


class _Machine:
    """Stages, and the batches that they work at."""

    def __init__(self, flows: list[_Flow], fleet: Sequence[Capacity], cores: float) -> None:
        self.flows = flows
        """That have not ended."""
        self.now_s = 0.0
        self.ends_s: dict[str, float] = {}
        self._fleet = {one.stage.name: one for one in fleet}
        self._cores = cores
        self._queues = {name: _Queues() for name in self._fleet}
        self._under_way: deque[tuple[float, _Parcel]] = deque()
        self._total = total_window(((flow.load.stages, flow.window) for flow in flows), fleet)
        self._shares: dict[tuple[str, ...], Sequence[float]] = {}
        self._passed = 0.0
        """Of the batch that had the last turn."""
        for flow in flows:
            while flow.parts and flow.in_flight < flow.load.in_flight - _ROUNDING:
                self._send(flow, flow.load.in_flight - flow.in_flight)

    def step(self) -> None:
        """Some tenths of a second, longer the later it is."""
        step_s = max(STEP_S, STEP_GROWTH * self.now_s)
        while self._under_way and self._under_way[0][0] <= self.now_s:
            parcel = self._under_way.popleft()[1]
            self._queues[parcel.flow.route[parcel.place]].add(parcel)
        self._dispatch(max(step_s / WINDOW_STEP_S, 1.0))
        for name, rate in self._rates(step_s).items():
            self._work(name, rate * step_s, self.now_s + step_s + HOP_S)
        self.now_s += step_s
        for flow in self.flows:
            if flow.left <= LEFT_IMAGES:
                self.ends_s[flow.load.batch] = self.now_s
        self.flows = [flow for flow in self.flows if flow.left > LEFT_IMAGES]

    def _dispatch(self, wider: float) -> None:
        """Let windows fill, which are `wider` times as wide."""
        for flow in self.flows:
            while flow.load.express and flow.parts:
                self._send(flow, flow.parts[0].images)
        in_flight = sum(flow.in_flight for flow in self.flows if not flow.load.express)
        while (room := self._total * wider - in_flight) >= 1 and (ready := self._ready(wider)):
            flow, share = self._next(ready)
            most = min(max(flow.window * wider / CHUNKS, 1.0), flow.window * wider - flow.in_flight, room)
            images = self._send(flow, most)
            flow.passed += images / share
            in_flight += images

    def _ready(self, wider: float) -> list[_Flow]:
        """Those that may dispatch an image. A lower priority holds no more than its share of what is in flight."""
        waiting = [flow for flow in self.flows if flow.parts]
        ready = [flow for flow in waiting if flow.in_flight + 1 <= flow.window * wider]
        if len({flow.load.priority for flow in waiting}) == 1:
            return ready
        filled: dict[tuple[str, Priority], float] = defaultdict(float)
        for flow in self.flows:
            filled[flow.load.owner, flow.load.priority] += flow.in_flight / flow.window
        highest = {flow.load.owner: flow.load.priority for flow in sorted(waiting, key=_rank)}
        return [
            flow
            for flow in ready
            if flow.load.priority == (first := highest[flow.load.owner])
            or not (held := filled[flow.load.owner, flow.load.priority])
            or held * (1 - LOW_SHARE) < filled[flow.load.owner, first] * LOW_SHARE
        ]

    def _next(self, ready: Sequence[_Flow]) -> tuple[_Flow, float]:
        """Whose turn it is, and its share of the turns of these."""
        key = tuple(flow.load.batch for flow in ready)
        if key not in self._shares:
            self._shares[key] = _shares(ready)
        for flow in ready:
            # Who had nothing to dispatch, or no room, saves no turns for later.
            flow.passed = max(flow.passed, self._passed)
        place = min(range(len(ready)), key=lambda place: ready[place].passed)
        self._passed = ready[place].passed
        return ready[place], self._shares[key][place]

    def _send(self, flow: _Flow, most: float) -> float:
        part = flow.parts[0]
        if part.images <= most + _ROUNDING:
            images = flow.parts.popleft().images
        else:
            images = most
            flow.parts[0] = part._replace(images=part.images - images)
        flow.in_flight += images
        self._queues[flow.route[0]].add(_Parcel(flow, 0, part.image_s, images))
        return images

    def _rates(self, step_s: float) -> dict[str, float]:
        """Cores that each stage uses: as many as it has work and processes for, and no more of them than is fair."""
        processes = {name: one.replicas_at(self.now_s) * one.stage.children for name, one in self._fleet.items()}
        wanted = {
            name: min(float(processes[name]), queues.backlog_s / step_s)
            for name, queues in self._queues.items()
            if processes[name] and queues.backlog_s > _ROUNDING
        }
        cores, found = self._cores, {}
        sharing = sum(processes[name] for name in wanted)
        for name in sorted(wanted, key=lambda name: wanted[name] / processes[name]):
            found[name] = min(wanted[name], cores * processes[name] / sharing)
            cores -= found[name]
            sharing -= processes[name]
        return found

    def _work(self, name: str, cpu_s: float, then_s: float) -> None:
        """Spend so much CPU time on what waits for a stage; it comes to the next one at `then_s`."""
        queues = self._queues[name]
        express_s = cpu_s * (1 - OTHERS_SHARE) if queues.other else cpu_s
        spent_s = self._drain(queues.express, express_s, then_s)
        spent_s += self._drain(queues.other, cpu_s - spent_s, then_s)
        spent_s += self._drain(queues.express, cpu_s - spent_s, then_s)
        queues.backlog_s = max(queues.backlog_s - spent_s, 0.0)

    def _drain(self, waiting: deque[_Parcel], cpu_s: float, then_s: float) -> float:
        left_s = cpu_s
        while waiting and left_s > _ROUNDING:
            parcel = waiting[0]
            each_s = parcel.image_s[parcel.place]
            images = left_s / each_s
            if parcel.images <= images + _ROUNDING:
                images = waiting.popleft().images
            left_s -= images * each_s
            parcel.images -= images
            self._pass_on(parcel, images, then_s)
        return cpu_s - left_s

    def _pass_on(self, parcel: _Parcel, images: float, then_s: float) -> None:
        flow, place = parcel.flow, parcel.place + 1
        if place < len(flow.route):
            self._under_way.append((then_s, _Parcel(flow, place, parcel.image_s, images)))
        else:
            flow.in_flight -= images
            flow.left -= images


def _rank(flow: _Flow) -> int:
    return RANKS[flow.load.priority]


def _shares(flows: Sequence[_Flow]) -> list[float]:
    """Images per turn of each of these batches."""
    groups = []
    for flow in flows:
        load = flow.load
        group = Group((load.owner, load.priority), load.express)
        group.add(BatchFlow(1.0, load.batch, load.weight, load.due_at, {}))
        groups.append(group)
    dealt = with_due_first(groups)
    found = {group.flows[0].batch: each * group.weight for group, each in zip(dealt, turns(dealt), strict=True)}
    return [found[flow.load.batch] for flow in flows]
