from typing import Any

import pytest

from muniflow.errors import Rejected
from muniflow.model.api import MAX_HISTORY_POINTS, StageStatus
from muniflow_coordinator.api.history import STEP_S, History


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def now_s(self) -> float:
        return self.now


def history(*answers: tuple[StageStatus, ...]) -> History:
    clock: Any = Clock()
    remaining = list(answers)

    def stages() -> tuple[StageStatus, ...]:
        clock.now += STEP_S
        return remaining.pop(0) if len(remaining) > 1 else remaining[0]

    made = History(stages, clock, repeater=None)  # type: ignore[arg-type]  # never started here
    for _ in answers:
        made.poll()
    return made


def stage(**given: Any) -> StageStatus:
    return StageStatus(op="blur", queue="q", **given)


def test_a_history_has_backlog_rate_and_workers_oldest_first():
    made = history(
        (stage(ready=3, unacked=2, consumers=1, rate_tasks_per_s=0.5),), (stage(),), (stage(ready=0, consumers=2),)
    )
    answer = made.answer({})
    assert answer.at == (1000.0, 1005.0, 1010.0)
    (trail,) = answer.stages
    assert (trail.backlog, trail.rate_tasks_per_s, trail.workers) == ((5, None, 0), (0.5, None, None), (1, None, 2))


def test_it_is_as_long_as_it_is_asked_to_be():
    assert history((stage(),), (stage(),), (stage(),)).answer({"limit": "2"}).at == (1005.0, 1010.0)
    with pytest.raises(Rejected, match="limit: 1 to 720"):
        history((stage(),)).answer({"limit": "0"})


def test_an_hour_is_kept():
    made = history(*[(stage(ready=number),) for number in range(MAX_HISTORY_POINTS + 5)])
    assert MAX_HISTORY_POINTS * STEP_S == 3600
    assert len(made.answer({}).at) == MAX_HISTORY_POINTS
    assert made.answer({}).stages[0].backlog[0] == 5


def test_it_is_empty_before_the_first_point():
    assert History(lambda: (), Clock(), None).answer({}).stages == ()  # type: ignore[arg-type]
