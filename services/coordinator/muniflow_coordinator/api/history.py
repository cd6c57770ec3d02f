"""The last hour of each stage, kept in memory: a chart has a past as soon as it is opened."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from muniflow.model.api import MAX_HISTORY_POINTS, STAGE_HISTORY, StageHistory, StageStatus, StageTrail
from muniflow.runtime.clock import Clock
from muniflow.runtime.executor import Repeater
from muniflow.runtime.http import Query, Route
from muniflow_coordinator.api.query import number_of

STEP_S = 5.0


@dataclass(frozen=True)
class _Point:
    at: float
    stages: Mapping[str, StageStatus]


class History:
    """Notes the stages every `STEP_S` seconds; about 1 MB for ten stages."""

    def __init__(self, stages: Callable[[], Sequence[StageStatus]], clock: Clock, repeater: Repeater) -> None:
        """Ask `stages` by `repeater`, once started."""
        self._stages = stages
        self._clock = clock
        self._repeater = repeater
        self._points: deque[_Point] = deque(maxlen=MAX_HISTORY_POINTS)

    def start(self) -> None:
        """Begin to note."""
        self._repeater.start(self.poll)

    def stop(self) -> None:
        """Stop noting."""
        self._repeater.stop()

    def poll(self) -> float:
        """Note the stages once. Returns the pause until the next time, in seconds."""
        self._points.append(_Point(self._clock.now_s(), {stage.op: stage for stage in self._stages()}))
        return STEP_S

    def routes(self) -> Mapping[str, Route]:
        """Return all routes by path."""
        return {STAGE_HISTORY: lambda query, _parts: self.answer(query)}

    def answer(self, query: Query) -> StageHistory:
        """Return the newest points, oldest first: `limit` of them, all by default."""
        limit = number_of(query, "limit", MAX_HISTORY_POINTS, MAX_HISTORY_POINTS)
        points = list(self._points)[-limit:]
        names = list(points[-1].stages) if points else []
        return StageHistory(
            every_s=STEP_S,
            at=tuple(round(point.at, 1) for point in points),
            stages=tuple(_trail(name, [point.stages.get(name) for point in points]) for name in names),
        )


def _trail(name: str, statuses: Sequence[StageStatus | None]) -> StageTrail:
    return StageTrail(
        op=name,
        backlog=tuple(None if one is None or one.ready is None else one.ready + (one.unacked or 0) for one in statuses),
        rate_tasks_per_s=tuple(None if one is None else one.rate_tasks_per_s for one in statuses),
        workers=tuple(None if one is None else one.consumers for one in statuses),
    )
