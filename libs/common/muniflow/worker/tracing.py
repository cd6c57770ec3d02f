"""The spans of a group of tasks, and the context that the tasks which follow from it carry on."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from muniflow.compute.groups import GroupResult, TaskResult
from muniflow.compute.outcome import StepMeasure
from muniflow.model.lineage import label
from muniflow.model.messages import Task
from muniflow.runtime.tracing import TRACEPARENT, AttributeValue, SpanContext, Tracing


class Delivered(NamedTuple):
    """A task with the headers that it came with."""

    task: Task
    headers: Mapping[str, object]


def contexts_of(tracing: Tracing, group: Sequence[Delivered], result: GroupResult) -> list[Mapping[str, str]]:
    """Tell `tracing` of each task of a computed group.

    Returns the headers that what follows from each task carries on, in the order of `result.tasks`; empty when off.
    """
    if not tracing.on:
        return []
    headers = {id(delivered.task): delivered.headers for delivered in group}
    contexts: list[Mapping[str, str]] = []
    first = 0
    for task, done in zip(result.sources, result.tasks, strict=True):
        measures = result.measures[first : first + done.steps]
        first += done.steps
        came = SpanContext.read(headers.get(id(task), {}))
        here = came if came is None or not came.sampled else _span(tracing, came, task, done, measures)
        contexts.append({} if here is None else {TRACEPARENT: here.header()})
    return contexts


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
