"""The result of a group of tasks, as data, and its frame between child and parent. Pure, and without numpy."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import ClassVar, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from muniflow.compute.frames import FrameError
from muniflow.compute.outcome import Outcome, StepMeasure, tallies_of
from muniflow.model.messages import Settled, Tally, Task
from muniflow.model.settlement import Disposition, Fail, Retry

Result = tuple[Task, Outcome]
DispositionName = Literal["done", "retry", "failed"]


@dataclass(frozen=True, slots=True)
class TaskResult:
    """The outcome of one task."""

    op: str
    disposition: DispositionName
    seconds: float = 0.0
    """All of it: load, compute, store."""
    pixels: int = 0
    """Pixels of its input; 0 when it was never loaded."""
    first: bool = False
    """Whether its input was an encoded source."""
    reason: str = ""
    """For `retry`: which part is away. For `failed`: why, for people."""
    kind: str = ""
    """What to count: for `failed` its kind, for `retry` the name of the part that is away."""
    kept: bool = False
    """For `failed`: whether a copy goes to the dead-letter queue, because no event tells of it."""
    began_at: float = 0.0
    """Unix time, seconds: when a child took it up; 0 when none did."""
    steps: int = 0
    """How many of the group's measures are this task's; they are in the order of the tasks."""
    delay_s: int = 0
    """For `retry`: when to try again."""
    failed_step: int = 0
    """For `failed`: the first step that failed, as an index into the route."""
    code: str = ""
    """For `failed`: its reason code."""


class Following(NamedTuple):
    """A task that follows from one of the group.

    Encoded by the child, because nobody reads it before the next worker does (docs/adr/0024-results-as-data.md).
    """

    of: int
    """The place of the task that it follows from."""
    op: str
    body: bytes


class Span(NamedTuple):
    """When a task was computed."""

    began_at: float = 0.0
    """Unix time, seconds."""
    seconds: float = 0.0
    cpu_s: float | None = None
    """Of the CPU, where stages share the cores of one machine."""

    @property
    def service_s(self) -> float:
        """What the task costs its stage, for forecasts."""
        return self.seconds if self.cpu_s is None else self.cpu_s


@dataclass
class GroupResult:
    """The outcome of a group."""

    tasks: list[TaskResult] = field(default_factory=list)
    measures: list[StepMeasure] = field(default_factory=list)
    following: list[Following] = field(default_factory=list)
    settled: list[Settled] = field(default_factory=list)
    tallies: list[Tally] = field(default_factory=list)
    sources: list[Task] = field(default_factory=list)
    """The tasks themselves, in the order of `tasks`; the parent has them, so they do not travel."""
    unbegun: list[Task] = field(default_factory=list)
    """Tasks that did not run, because those before them took long (`ChildSpec.group_stop_s`). They do not travel."""

    def add(self, other: "GroupResult") -> None:
        """Add the result of another part of the same group."""
        before = len(self.tasks)
        self.following += [follow._replace(of=before + follow.of) for follow in other.following]
        self.tasks += other.tasks
        self.measures += other.measures
        self.settled += other.settled
        self.tallies += other.tallies
        self.sources += other.sources
        self.unbegun += other.unbegun


def result_of(results: Sequence[Result], spans: Sequence[Span], now_s: float) -> GroupResult:
    """The result of tasks with their outcomes; `spans` is when each was computed, `now_s` the unix time."""
    made = GroupResult()
    for place, ((task, outcome), span) in enumerate(zip(results, spans, strict=True)):
        made.tasks.append(_task_result(task, outcome, span))
        made.measures += outcome.measures
        made.settled += outcome.settled
        made.following += [_following(place, follow, now_s) for follow in outcome.follow]
    made.tallies += tallies_of(
        (task.batch, outcome, span.service_s) for (task, outcome), span in zip(results, spans, strict=True)
    )
    return made


def _following(place: int, task: Task, now_s: float) -> Following:
    return Following(place, task.op, task.model_copy(update={"published_at": now_s}).to_bytes())


def _task_result(task: Task, outcome: Outcome, span: Span) -> TaskResult:
    disposition, kind = _name(outcome.disposition)
    return TaskResult(
        op=task.op,
        disposition=disposition,
        seconds=round(span.seconds, 6),
        pixels=next((measure.pixels for measure in outcome.measures), 0),
        first=not task.tiles,
        reason=outcome.disposition.reason if isinstance(outcome.disposition, Retry | Fail) else "",
        kind=kind,
        began_at=round(span.began_at, 6),
        steps=len(outcome.measures),
        delay_s=outcome.disposition.delay_s if isinstance(outcome.disposition, Retry) else 0,
        failed_step=outcome.failed_step,
        code=outcome.disposition.code if isinstance(outcome.disposition, Fail) else "",
    )


def _name(disposition: Disposition) -> tuple[DispositionName, str]:
    match disposition:
        case Retry():
            return "retry", disposition.what
        case Fail():
            return "failed", disposition.kind
        case _:
            return "done", ""


# `astuple` copies deeply, which took a tenth of a small task's time.
_task_values = attrgetter(*(each.name for each in fields(TaskResult)))
_measure_values = attrgetter(*(each.name for each in fields(StepMeasure)))


class _Reports(BaseModel):
    """What the coordinator is to be told of a group."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True)

    settled: list[Settled] = []
    tallies: list[Tally] = []


def encode_result(result: GroupResult) -> list[bytes]:
    """As the parts of a frame: tasks and measures, reports, then the body of each following task."""
    head = {
        "tasks": [_task_values(task) for task in result.tasks],
        "measures": [_measure_values(measure) for measure in result.measures],
        "following": [(follow.of, follow.op) for follow in result.following],
    }
    reports = _Reports(settled=result.settled, tallies=result.tallies)
    bodies = (follow.body for follow in result.following)
    return [json.dumps(head).encode(), reports.model_dump_json(exclude_defaults=True).encode(), *bodies]


def decode_result(parts: Sequence[bytes]) -> GroupResult:
    """Back from `encode_result`.

    Raises:
        FrameError: this is no result.
    """
    try:
        head = json.loads(parts[0])
        tasks = [TaskResult(*task) for task in head["tasks"]]
        measures = [StepMeasure(*measure) for measure in head["measures"]]
        following = [Following(of, op, body) for (of, op), body in zip(head["following"], parts[2:], strict=True)]
        reports = _Reports.model_validate_json(parts[1])
        return GroupResult(tasks, measures, following, reports.settled, reports.tallies)
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        raise FrameError(f"not a result: {error}") from None
