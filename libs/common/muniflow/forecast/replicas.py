"""How many replicas each stage should have, so that every batch ends when it is due.

The rule, for each stage: of the work due by each due time, the replicas that do it by then; the largest number counts.

- A batch is due at its deadline, or a horizon after it was accepted: fixed then, or demand would fade with the work.
- A batch that cannot end when due, because a stage would need more than its `max`, is due when that stage can be done
  with it, in every stage. So the stages beside a bottleneck get their proportion of its pace, and no more.
- The start time is taken off only while the replicas that a new batch asks for start: after that, the work left over
  the time left is the pace itself.
- A stage that is behind gets no replicas for a rest of time in which they could not even start and be counted: that
  rest is at least `SIGNAL_S` and one start. So nothing jumps to `max` just before the end.
- A pace that is kept stays: see `steadied`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import NamedTuple

from muniflow.forecast.stage import HORIZON_S, Stage, Stages
from muniflow.forecast.work import Work

SIGNAL_S = 30.0
"""From a change of demand until a scaler acts on it: an HPA looks every 15 s, at a number that is up to 15 s old."""
MARGIN = 1.4
"""Work is counted so many times, so that batches end before they are due. A steady stream of batches settles where each
ends at its last second, and a scaler's tolerance of 10% and the turns of other batches take their part of what is left:
with 1.25 an eighth of such batches ends late, with 1.4 none (tests/simulation). A batch costs the same core-seconds."""
LATE_MARGIN = 1.1
"""For batches that a stage at its `max` holds up: the other stages keep its pace, and no more."""
GROW = 1.1
SHRINK = 0.7
SHRINK_REPLICAS = 1.3
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Unknown:
    """No answer, and why. Never read as 0 replicas."""

    reason: str


Answer = int | Unknown
"""What a stage wants."""


class Due(NamedTuple):
    """A batch, its due time, and what it still needs."""

    batch: str
    accepted_at: float
    due_at: float
    work: Work
    """Seconds by stage: queued, in flight and not dispatched."""


class Running(NamedTuple):
    """A stage and its replicas now."""

    stage: Stage
    replicas: int | None = None
    """That consume; `None`: not known."""
    asked: int | None = None
    """What was answered last; `None`: nothing was."""

    @property
    def at_work(self) -> int:
        """The replicas that are counted on: what was asked for stands in for what is not known."""
        known = self.asked if self.replicas is None else self.replicas
        return min(known or 0, self.stage.max_replicas)


class Wanted(NamedTuple):
    """The answer for one stage."""

    replicas: int
    need: float
    """Before rounding, bounds and steadying."""
    work_s: float
    """Remaining work."""


class Late(NamedTuple):
    """A batch that cannot end when it is due, even with `max` replicas everywhere from now on."""

    batch: str
    due_at: float
    earliest_at: float


@dataclass(frozen=True)
class Demand:
    """What all accepted batches want."""

    wanted: dict[str, Wanted]
    """By stage."""
    late: tuple[Late, ...]
    earliest_at: dict[str, float]
    """When each batch could end with `max` replicas everywhere, by its name."""

    def of(self, stage: str) -> Answer:
        """The replicas that a stage wants."""
        found = self.wanted.get(stage)
        return Unknown(f"no stage is named {stage!r}") if found is None else found.replicas


def due_at(accepted_at: float, deadline_at: float | None, stages: Stages) -> float:
    """When a batch that visits these stages is due: at its deadline, or after the shortest of their horizons."""
    if deadline_at is not None:
        return deadline_at
    return accepted_at + min((stage.horizon_s for stage in stages), default=HORIZON_S)


def demand(now_at: float, dues: Sequence[Due], fleet: Sequence[Running], margin: float = MARGIN) -> Demand:
    """What each stage wants now.

    Args:
        now_at: unix seconds.
        dues: all accepted batches that are not settled.
        fleet: all stages.
        margin: see `MARGIN`.
    """
    in_order = sorted(dues, key=lambda due: due.due_at)
    earliest = _earliest(now_at, in_order, fleet)
    earliest_at = {due.batch: at for due, at in zip(in_order, earliest, strict=True)}
    late = tuple(Late(due.batch, due.due_at, at) for due, at in zip(in_order, earliest, strict=True) if at > due.due_at)
    paced = [
        (due._replace(due_at=at), min(margin, LATE_MARGIN)) if at > due.due_at else (due, margin)
        for due, at in zip(in_order, earliest, strict=True)
    ]
    paced.sort(key=lambda one: one[0].due_at)
    return Demand({one.stage.name: _wanted(now_at, paced, one) for one in fleet}, late, earliest_at)


def steadied(need: float, asked: int | None) -> int:
    """Whole replicas for a need, near what was asked for before.

    More only for `GROW` times as much; fewer only where one replica less would be `SHRINK_REPLICAS` and a part of
    `SHRINK` too many, and only as many fewer as that allows. So a steady stream of work, whose backlog shrinks a little
    with each replica too many, comes down to what keeps up with it, and not to what its small backlog needs: that is
    too few, and turned round a minute later. Beside this the HPA's own tolerance of 10% holds for many replicas.
    """
    wanted = ceil(need - _ROUNDING)
    if asked is None:
        return wanted
    if need > asked:
        return wanted if need > asked * GROW else asked
    # The largest number that is not `SHRINK_REPLICAS` and a part of `SHRINK` too many.
    kept = floor(max(need / SHRINK + 1, need + 1 + SHRINK_REPLICAS) + _ROUNDING)
    return min(kept, asked)


def _start_left_s(now_at: float, due: Due, stage: Stage) -> float:
    """How long the replicas that a batch asked for at its acceptance still start."""
    return max(due.accepted_at + stage.start_s - now_at, 0.0)


def _earliest(now_at: float, dues: Sequence[Due], fleet: Sequence[Running]) -> list[float]:
    """When each batch could end with `max` replicas everywhere, served in the order of due times."""
    ends = [now_at] * len(dues)
    for one in fleet:
        stage, replicas, unit_s = one.stage, one.at_work, 0.0
        for number, due in enumerate(dues):
            if (work_s := due.work.get(stage.name, 0.0)) <= 0:
                continue
            unit_s += work_s / stage.rate(1)
            start_s = _start_left_s(now_at, due, stage) or stage.start_s
            # Those that run do `replicas` seconds of it in each second, and all of them do once the rest has started.
            alone_s = unit_s / replicas if replicas else start_s + unit_s
            started_s = (unit_s + (stage.max_replicas - replicas) * start_s) / stage.max_replicas
            ends[number] = max(ends[number], now_at + (alone_s if alone_s <= start_s else started_s))
    return ends


def _wanted(now_at: float, dues: Sequence[tuple[Due, float]], one: Running) -> Wanted:
    stage = one.stage
    work_s, start_s, need = 0.0, 0.0, 0.0
    for due, margin in dues:
        if (more_s := due.work.get(stage.name, 0.0)) <= 0:
            continue
        work_s += more_s
        start_s = max(start_s, _start_left_s(now_at, due, stage))
        unit_s = margin * work_s / stage.rate(1)
        need = max(need, _need(unit_s, due.due_at - now_at, start_s, one))
    if work_s <= 0:
        return Wanted(stage.min_replicas, 0.0, 0.0)
    replicas = max(steadied(need, one.asked), 1)
    return Wanted(min(max(replicas, stage.min_replicas), stage.max_replicas), need, work_s)


def _need(unit_s: float, left_s: float, start_s: float, one: Running) -> float:
    """Replicas that do `unit_s` seconds of one replica's work in `left_s` seconds.

    Args:
        unit_s: work over what one replica does in a second.
        left_s: until it is due.
        start_s: how long new replicas still start; 0 where they should have started.
        one: the stage.
    """
    running = one.at_work
    floor_s = SIGNAL_S + one.stage.start_s
    if unit_s <= running * left_s:
        return unit_s / left_s  # on pace: no floor, or a stage would shrink while its batch ends
    if start_s > 0:
        return max((unit_s - running * start_s) / max(left_s - start_s, floor_s), float(running))
    return max(unit_s / max(left_s, floor_s), float(running))
