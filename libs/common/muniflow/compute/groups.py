"""A group of tasks and its result, as frames between parent and child. Pure, and without numpy."""

import json
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, field
from typing import Literal

from muniflow.compute.frames import FrameError
from muniflow.compute.outcome import StepMeasure
from muniflow.compute.outgoing import Result, messages_of
from muniflow.settle import Fail, Fate, Retry
from muniflow.transport.types import OutgoingMessage

FateName = Literal["done", "retry", "failed"]


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What became of one task, for the parent's measures and its next guess."""

    op: str
    fate: FateName
    seconds: float = 0.0
    """All of it: load, compute, store."""
    pixels: int = 0
    """Pixels of its input; 0 when it was never loaded."""
    first: bool = False
    """Whether its input was an encoded source."""


@dataclass
class GroupResult:
    """Everything that follows from a group."""

    messages: list[OutgoingMessage] = field(default_factory=list)
    tasks: list[TaskResult] = field(default_factory=list)
    measures: list[StepMeasure] = field(default_factory=list)

    def add(self, other: "GroupResult") -> None:
        """Add the result of another part of the same group."""
        self.messages += other.messages
        self.tasks += other.tasks
        self.measures += other.measures


def result_of(results: Sequence[Result], seconds: Sequence[float], now_s: float) -> GroupResult:
    """The result of tasks with their outcomes; `seconds` is what each took, `now_s` the unix time."""
    tasks = []
    for (task, outcome), taken in zip(results, seconds, strict=True):
        pixels = next((measure.pixels for measure in outcome.measures), 0)
        tasks.append(TaskResult(task.op, _name(outcome.fate), round(taken, 6), pixels, task.pixels is None))
    measures = [measure for _, outcome in results for measure in outcome.measures]
    return GroupResult(messages_of(results, now_s), tasks, measures)


def _name(fate: Fate) -> FateName:
    match fate:
        case Retry():
            return "retry"
        case Fail():
            return "failed"
        case _:
            return "done"


def encode_result(result: GroupResult) -> list[bytes]:
    """As the parts of a frame: one of JSON, then the body of each message."""
    head = {
        "messages": [
            [message.routing_key, message.exchange, dict(message.headers), message.mandatory]
            for message in result.messages
        ],
        "tasks": [astuple(task) for task in result.tasks],
        "measures": [asdict(measure) for measure in result.measures],
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
        return GroupResult(messages, tasks, [StepMeasure(**measure) for measure in head["measures"]])
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        raise FrameError(f"not a result: {error}") from None
