"""What became of a task, as data. No numpy here: the worker's parent process reads it, too."""

from collections.abc import Iterable
from dataclasses import dataclass

from muniflow.compute.task_sums import DoneWork, Work, task_sums
from muniflow.model.messages import Settled, Tally, Task
from muniflow.model.settlement import Disposition, Done, Fail, Retry, settle, shorten
from muniflow.model.step_sums import StepSums

_CV2_NO_MEMORY = -4


@dataclass(slots=True)
class StepMeasure(StepSums):
    """What one step did and cost in one task, over all tiles that the task made of its input."""

    op: str = ""
    step: int = 0
    """Index into the route."""
    load_s: float = 0.0
    """Reading and decoding, at the first step of the task."""
    store_s: float = 0.0
    """Encoding and writing, at the last step of the task."""
    load_bytes: int = 0
    """Read from a store."""
    store_bytes: int = 0
    """Written to a store."""


@dataclass(frozen=True)
class Outcome:
    """The result of `muniflow.compute.process.process`."""

    disposition: Disposition
    """`Fail` when any part of the task failed; parts that did not fail follow or are settled all the same."""
    follow: tuple[Task, ...] = ()
    settled: tuple[Settled, ...] = ()
    measures: tuple[StepMeasure, ...] = ()
    """Of each step that ran."""
    tally: Tally | None = None
    """Of a task in which none did."""
    outputs: tuple[str, ...] = ()
    """Keys of the outputs that were written."""
    failed_step: int = 0
    """For `Fail`: the first step that failed, as an index into the route."""
    work: Work | None = None
    """For a task that was done in all its parts."""


def tallies_of(outcomes: Iterable[tuple[str, Outcome, float]]) -> list[Tally]:
    """What tasks did, added up by batch and step: the one place where measures become sums.

    Args:
        outcomes: each with the batch of its task before it, and after it the seconds that the task took.
    """
    sums: dict[tuple[str, int], StepSums] = {}
    retries: dict[tuple[str, int], list[str | None]] = {}
    done: dict[tuple[str, int], DoneWork] = {}
    for batch, outcome, seconds in outcomes:
        for measure in outcome.measures:
            sums.setdefault((batch, measure.step), StepSums()).add(measure)
        if (tally := outcome.tally) is not None:
            sums.setdefault((batch, tally.step), StepSums()).add(tally.sums)
            retries.setdefault((batch, tally.step), []).extend([tally.waiting_for] * tally.retried)
        if (work := outcome.work) is not None:
            sums.setdefault((batch, work.step), StepSums())
            same = done.setdefault((batch, work.step), {})
            tasks, before_s = same.get(work, (0, 0.0))
            same[work] = tasks + 1, before_s + seconds
    return [
        Tally(
            batch=batch,
            step=step,
            retried=len(reasons := retries.get((batch, step), [])),
            waiting_for=reasons[-1] if reasons else None,
            tasks=task_sums(done.get((batch, step), {})) or None,
            **total.values(6),
        )
        for (batch, step), total in sums.items()
    ]


def failed_whole(task: Task, disposition: Disposition, *, input_gone: bool = False) -> Outcome:
    """The outcome of a task that failed before it made anything, or that is to be retried.

    With `input_gone` its input is an intermediate that the work store does not have, or not whole.
    """
    if isinstance(disposition, Retry):
        return Outcome(
            disposition, tally=Tally(batch=task.batch, step=task.step, retried=1, waiting_for=disposition.reason)
        )
    if not isinstance(disposition, Fail):
        return Outcome(disposition)
    settled = task.failed(disposition.reason, disposition.code, input_gone=input_gone)
    # An input that is gone is no failure of its step.
    tally = None if input_gone else Tally(batch=task.batch, step=task.step, failed=len(settled))
    return Outcome(disposition, settled=settled, tally=tally, failed_step=task.step)


def disposition_of(error: Exception, attempt: int) -> Disposition:
    """What an error means for its task, with a reason that fits a message."""
    # OpenCV has an exception of its own for memory.
    if getattr(error, "code", None) == _CV2_NO_MEMORY:
        error = MemoryError()
    disposition = settle(error, attempt)
    return Fail(shorten(disposition.reason), disposition.code) if isinstance(disposition, Fail) else disposition


__all__ = ["Done", "Outcome", "StepMeasure", "disposition_of", "failed_whole", "tallies_of"]
