"""The spans of a group of tasks, and the context that the messages which follow from it carry on."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from muniflow.compute.groups import GroupResult, TaskResult
from muniflow.compute.outcome import StepMeasure
from muniflow.model.lineage import is_ancestor, label
from muniflow.model.messages import Task
from muniflow.model.topology import EVENTS
from muniflow.runtime.tracing import TRACEPARENT, AttributeValue, SpanContext, Tracing
from muniflow.transport.types import OutgoingMessage


class Delivered(NamedTuple):
    """A task with the headers that it came with."""

    task: Task
    headers: Mapping[str, object]


def follow(tracing: Tracing, group: Sequence[Delivered], result: GroupResult) -> list[OutgoingMessage]:
    """Tell `tracing` of each task of a computed group; returns its messages with the context of their tasks."""
    if not tracing.on:
        return result.messages
    headers = {id(delivered.task): delivered.headers for delivered in group}
    places: list[SpanContext | None] = []
    first = 0
    for task, done in zip(result.sources, result.tasks, strict=True):
        measures = result.measures[first : first + done.steps]
        first += done.steps
        came = SpanContext.read(headers.get(id(task), {}))
        here = came if came is None or not came.sampled else _span(tracing, came, task, done, measures)
        places.append(here)
    return [_onward(message, result.sources, places) for message in result.messages]


def parent_of(message: OutgoingMessage, group: Sequence[Task]) -> int | None:
    """Which task of a group a message comes from, as its place; `None` for what is no task.

    It is the task of the same image with the longest lineage that the message's begins with.
    """
    try:
        made = Task.from_bytes(message.body)
    except ValueError:
        return None
    (of, *_) = made.lineages
    candidates = [
        (len(lineage), task.step, place)
        for place, task in enumerate(group)
        if (task.batch, task.image, task.run) == (made.batch, made.image, made.run) and task.step <= made.step
        for lineage in task.lineages
        if is_ancestor(lineage, of)
    ]
    return max(candidates)[2] if candidates else None


def _span(
    tracing: Tracing, came: SpanContext, task: Task, done: TaskResult, measures: Sequence[StepMeasure]
) -> SpanContext | None:
    began_at = done.began_at or task.published_at
    attributes: dict[str, AttributeValue] = {
        "muniflow.batch": task.batch, "muniflow.image": task.image, "muniflow.run": task.run,
        "muniflow.step": task.step, "muniflow.attempt": task.attempt,
        "muniflow.lineages": [label(lineage) for lineage in task.lineages],
        "muniflow.outcome": done.disposition, "muniflow.reason": done.kind, "muniflow.pixels": done.pixels,
        "muniflow.wait_s": max(began_at - task.published_at, 0.0) if task.published_at else 0.0,
        "muniflow.load_s": sum(measure.load_s for measure in measures),
        "muniflow.compute_s": sum(measure.compute_s for measure in measures),
        "muniflow.store_s": sum(measure.store_s for measure in measures),
    }  # fmt: skip
    failure = done.kind if done.disposition == "failed" else None
    return tracing.task(came, task.op, attributes, (began_at, began_at + done.seconds), failure)


def _onward(message: OutgoingMessage, tasks: Sequence[Task], places: Sequence[SpanContext | None]) -> OutgoingMessage:
    if message.routing_key == EVENTS:
        return message
    place = parent_of(message, tasks)
    here = None if place is None else places[place]
    if here is None:
        return message
    return replace(message, headers={**message.headers, TRACEPARENT: here.header()})
