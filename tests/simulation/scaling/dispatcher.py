"""What the coordinator lets in: in its own turns (`runs.turns`), within the windows that follow the fleet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, inf

from tests.simulation.scaling.pipeline import ROUNDING, Flow, Shift

from muniflow_coordinator.runs.scheduler import EXPRESS_TURNS
from muniflow_coordinator.runs.turns import Entry, Standing, Turn, Turns
from muniflow_coordinator.runs.window import AllWindows

ROUNDS = 8
"""So often each batch has a turn in one step of time, where stages have time for all of them."""
TURNS_TO_DOUBLE = 16
"""After so many turns in a step of time each one counts for twice as many images: a step stays cheap."""


@dataclass
class Dispatcher:
    """The batches of one installation. A turn counts for many images, for equally many of each batch."""

    normal: Turns = field(default_factory=Turns)
    express: Turns = field(default_factory=Turns)
    entries: dict[int, Entry] = field(default_factory=dict)
    flows: dict[int, Flow] = field(default_factory=dict)
    total: float = 0.0
    express_turns: int = 0
    """In a row."""

    def follow(self, flows: Sequence[Flow], windows: AllWindows) -> None:
        """Take note of the batches that run, and of what they may have in flight now."""
        self.total = windows.total
        for flow in flows:
            window = windows.windows[flow.number]
            entry = self.entries.get(flow.number)
            if entry is None:
                job = flow.job
                standing = Standing(job.weight, job.priority, job.due_s, job.owner, job.express)
                entry = self.entries[flow.number] = Entry(flow.number, standing, window.images)
                self.flows[flow.number] = flow
            entry.window = window.images
            self._update(entry)

    def advance(self, capacity_s: Mapping[str, float], begun_at: float, lasts_s: float) -> None:
        """Let a step of time pass in which stages do so many seconds of work."""
        shift = Shift(dict(capacity_s), begun_at, lasts_s)
        active = list(self.flows.values())
        shift.drain(active)
        for entry in list(self.entries.values()):
            self._update(entry)
        self._deal(shift, active)
        for flow in active:
            if flow.ended_s is not None:
                entry = self.entries.pop(flow.number)
                entry.alive, entry.in_flight = False, 0
                self._lane(entry).update(entry)
                del self.flows[flow.number]

    def _deal(self, shift: Shift, active: Sequence[Flow]) -> None:
        in_flight = sum(flow.in_flight for flow in active)
        images, number = _images_of_a_turn(shift, active), 0
        while in_flight < self.total - ROUNDING and (turn := self._next()) is not None:
            entry = turn.entry
            flow = self.flows[entry.batch]
            before = flow.in_flight
            room = max(min(entry.window - before, self.total - in_flight), 0.0)
            shift.dispatch(flow, min(images, flow.undispatched), room)
            in_flight += flow.in_flight - before
            self._lane(entry).serve(turn)
            self._update(entry)
            number += 1
            images *= 2 if number % TURNS_TO_DOUBLE == 0 else 1

    def _update(self, entry: Entry) -> None:
        flow = self.flows[entry.batch]
        entry.ready = flow.undispatched > ROUNDING
        entry.in_flight = ceil(flow.in_flight - ROUNDING)
        self._lane(entry).update(entry)

    def _lane(self, entry: Entry) -> Turns:
        return self.express if entry.standing.express else self.normal

    def _next(self) -> Turn | None:
        """As `runs.scheduler`: express batches first, and another one after some turns in a row."""
        fast, other = self.express.next(), self.normal.next()
        turn = fast if other is None or (fast is not None and self.express_turns < EXPRESS_TURNS) else other
        self.express_turns = self.express_turns + 1 if turn is not None and turn is fast else 0
        return turn


def _images_of_a_turn(shift: Shift, active: Sequence[Flow]) -> float:
    takers = [flow for flow in active if flow.undispatched > ROUNDING]
    if len(takers) < 2:
        return inf
    one_each_s = dict.fromkeys(shift.left_s, 0.0)
    for flow in takers:
        for step, seconds in zip(flow.job.route, flow.seconds, strict=True):
            one_each_s[step] += seconds
    rounds = [left_s / one_each_s[step] for step, left_s in shift.left_s.items() if left_s > 0 and one_each_s[step] > 0]
    return max(min(rounds, default=1.0) / ROUNDS, 1.0)
