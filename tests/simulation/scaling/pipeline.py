"""The work of batches as it flows through the stages, in virtual time: images as a fluid, 10^9 cost as much as 10."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tests.simulation.scaling.workload import Job

from muniflow.model.topology import EXPRESS_TURNS

ROUNDING = 1e-6
"""Images; a fluid that is nearer than this to the end is there."""


@dataclass(eq=False)
class Flow:
    """A batch on its way."""

    job: Job
    number: int = 0
    dispatched: float = 0.0
    """Images that the coordinator has let in."""
    passed: list[float] = field(default_factory=list)
    """Images that are past each step of the route."""
    ended_s: float | None = None

    def __post_init__(self) -> None:
        self.passed = [0.0] * len(self.job.route)
        self.seconds = tuple(self.job.seconds(step) for step in self.job.route)

    def waiting(self, n: int) -> float:
        """Images that step `n` can take now."""
        before = self.dispatched if n == 0 else self.passed[n - 1]
        return before - self.passed[n]

    @property
    def undispatched(self) -> float:
        """Images that wait for a turn."""
        return self.job.images - self.dispatched

    @property
    def in_flight(self) -> float:
        """Images that are dispatched and not settled."""
        return self.dispatched - self.passed[-1]


@dataclass
class Shift:
    """What the stages can do in one step of time; what has been dispatched first is done first."""

    given_s: dict[str, float]
    """Seconds of work of each stage."""
    begun_at: float
    lasts_s: float

    def __post_init__(self) -> None:
        self.left_s = dict(self.given_s)

    def drain(self, flows: Sequence[Flow]) -> None:
        """Work off what is in flight: it lies mixed in the queues, so all batches get on by the same part.

        Workers take the express queue first, for three quarters of their time at most where both have tasks.
        """
        for stage in self.left_s:
            takers = [(flow, n) for flow in flows for n, step in enumerate(flow.job.route)
                      if step == stage and flow.waiting(n) > 0]  # fmt: skip
            fast = [taker for taker in takers if taker[0].job.express]
            others = [taker for taker in takers if not taker[0].job.express]
            first_s = self.left_s[stage] * (EXPRESS_TURNS / (EXPRESS_TURNS + 1) if others else 1.0)
            self._work(stage, fast, first_s)
            self._work(stage, others, self.left_s[stage])
            self._work(stage, fast, self.left_s[stage])
        self.end(flows)

    def _work(self, stage: str, takers: Sequence[tuple[Flow, int]], most_s: float) -> None:
        """Let these get on by the same part, in so many seconds at most."""
        need_s = sum(flow.waiting(n) * flow.seconds[n] for flow, n in takers)
        part = min(1.0, most_s / need_s) if need_s > 0 else 0.0
        for flow, n in takers:
            flow.passed[n] += flow.waiting(n) * part
        self.left_s[stage] = max(self.left_s[stage] - need_s * part, 0.0)

    def dispatch(self, flow: Flow, images: float, room: float) -> float:
        """Let images of a batch in, which go as far as the stages have time; at most `room` stay on the way.

        Returns:
            Images that were let in.
        """
        lefts_s = [self.left_s[step] for step in flow.job.route]
        through = min(images, *(left_s / one_s for left_s, one_s in zip(lefts_s, flow.seconds, strict=True)))
        let_in = through + min(images - through, room)
        flow.dispatched += let_in
        comes = let_in
        for n, step in enumerate(flow.job.route):
            comes = min(comes, self.left_s[step] / flow.seconds[n])
            flow.passed[n] += comes
            self.left_s[step] = max(self.left_s[step] - comes * flow.seconds[n], 0.0)
        self.end((flow,))
        return let_in

    def end(self, flows: Iterable[Flow]) -> None:
        """Note which batches are done, at the part of this shift that is over for their stages."""
        for flow in flows:
            if flow.ended_s is None and flow.passed[-1] >= flow.job.images - ROUNDING:
                over = max(1 - self.left_s[step] / self.given_s[step] for step in flow.job.route if self.given_s[step])
                flow.ended_s = self.begun_at + over * self.lasts_s + sum(flow.seconds)
