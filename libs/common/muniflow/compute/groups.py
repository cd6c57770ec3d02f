"""A group of tasks and its result, as frames between parent and child. Pure, and without numpy."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Literal, NamedTuple

from muniflow.compute.frames import FrameError
from muniflow.compute.outcome import Outcome, StepMeasure
from muniflow.compute.outgoing import Result, messages_of
from muniflow.model.messages import Task
from muniflow.model.settlement import Disposition, Fail, Retry
from muniflow.transport.types import OutgoingMessage

DispositionName = Literal["done", "retry", "failed"]


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What became of one task, for the parent's measures and its next guess."""

    op: str
    disposition: DispositionName
    seconds: float = 0.0
    """All of it: load, compute, store."""
    pixels: int = 0
    """Pixels of its input; 0 when it was never loaded."""
    first: bool = False
    """Whether its input was an encoded source."""
    reason: str = ""
    """For `retry`: which part is away."""
    kind: str = ""
    """What to count: for `failed` its kind, for `retry` the name of the part that is away."""
    kept: bool = False
    """For `failed`: whether a copy is in the dead-letter queue."""
    began_at: float = 0.0
    """Unix time, seconds: when a child took it up; 0 when none did."""
    steps: int = 0
    """How many of the group's measures are this task's; they are in the order of the tasks."""


class Span(NamedTuple):
    """When a task was computed."""

    began_at: float = 0.0
    """Unix time, seconds."""
    seconds: float = 0.0


@dataclass
class GroupResult:
    """Everything that follows from a group."""

    messages: list[OutgoingMessage] = field(default_factory=list)
    tasks: list[TaskResult] = field(default_factory=list)
    measures: list[StepMeasure] = field(default_factory=list)
    sources: list[Task] = field(default_factory=list)
    """What `tasks` became of, in the same order; the parent knows it, it does not travel."""

    def add(self, other: "GroupResult") -> None:
        """Add the result of another part of the same group."""
        self.messages += other.messages
        self.tasks += other.tasks
        self.measures += other.measures
        self.sources += other.sources


def result_of(results: Sequence[Result], spans: Sequence[Span], now_s: float) -> GroupResult:
    """The result of tasks with their outcomes; `spans` is when each was computed, `now_s` the unix time."""
    tasks = [_task_result(task, outcome, span) for (task, outcome), span in zip(results, spans, strict=True)]
    measures = [measure for _, outcome in results for measure in outcome.measures]
    return GroupResult(messages_of(results, now_s), tasks, measures)


def _task_result(task: Task, outcome: Outcome, span: Span) -> TaskResult:
    disposition, kind = _name(outcome.disposition)
    return TaskResult(
        op=task.op,
        disposition=disposition,
        seconds=round(span.seconds, 6),
        pixels=next((measure.pixels for measure in outcome.measures), 0),
        first=not task.tiles,
        reason=outcome.disposition.reason if isinstance(outcome.disposition, Retry) else "",
        kind=kind,
        kept=disposition == "failed" and outcome.dead_letter,
        began_at=round(span.began_at, 6),
        steps=len(outcome.measures),
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


def encode_result(result: GroupResult) -> list[bytes]:
    """As the parts of a frame: one of JSON, then the body of each message."""
    head = {
        "messages": [
            [message.routing_key, message.exchange, dict(message.headers), message.mandatory]
            for message in result.messages
        ],
        "tasks": [_task_values(task) for task in result.tasks],
        "measures": [_measure_values(measure) for measure in result.measures],
    }
    return [json.dumps(head).encode(), *(message.body for message in result.messages)]


def decode_result(parts: Sequence[bytes]) -> GroupResult:
    """Back from `encode_result`.

    Raises:
        FrameError: this is no result.
    """
    try:
        head = json.loads(parts[0])
        messages = [
            OutgoingMessage(str(key), body, exchange=str(exchange), headers=dict(headers), mandatory=bool(mandatory))
            for (key, exchange, headers, mandatory), body in zip(head["messages"], parts[1:], strict=True)
        ]
        tasks = [TaskResult(*task) for task in head["tasks"]]
        return GroupResult(messages, tasks, [StepMeasure(*measure) for measure in head["measures"]])
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        raise FrameError(f"not a result: {error}") from None
