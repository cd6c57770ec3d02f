"""What became of a task, as data. No numpy here: the worker's parent process reads it, too."""

from dataclasses import dataclass, field

from muniflow.model.messages import Settled, Tally, Task
from muniflow.model.settlement import Disposition, Done, Fail, Retry, settle, shorten

_CV2_NO_MEMORY = -4


@dataclass(slots=True)
class StepMeasure:
    """What one step cost in one task, over all tiles that the task made of its input."""

    op: str
    step: int = 0
    """Index into the route."""
    images: int = 0
    """How many images or tiles went in and came out."""
    failed: int = 0
    pixels: int = 0
    """Pixels that went in."""
    compute_s: float = 0.0
    """The pixel function alone."""
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
    dead_letter: bool = True
    """For `Fail`: whether to keep a copy of the task. Not for a late duplicate whose input is gone for good."""


@dataclass(slots=True)
class _Sum:
    done: int = 0
    failed: int = 0
    retried: int = 0
    waiting_for: str | None = None
    pixels: int = 0
    compute_s: float = 0.0


@dataclass
class Tallies:
    """What several tasks did, added up by batch and step."""

    _sums: dict[tuple[str, int], _Sum] = field(default_factory=dict)

    def add(self, batch: str, outcome: Outcome) -> None:
        """Add the outcome of a task of this batch."""
        for measure in outcome.measures:
            found = self._of(batch, measure.step)
            found.done += measure.images
            found.failed += measure.failed
            found.pixels += measure.pixels
            found.compute_s += measure.compute_s
        if (tally := outcome.tally) is not None:
            found = self._of(batch, tally.step)
            found.failed += tally.failed
            found.retried += tally.retried
            found.waiting_for = tally.waiting_for or found.waiting_for

    def all(self) -> tuple[Tally, ...]:
        """One tally for each batch and step."""
        return tuple(
            Tally(
                batch=batch,
                step=step,
                done=found.done,
                failed=found.failed,
                retried=found.retried,
                waiting_for=found.waiting_for,
                pixels=found.pixels,
                compute_s=round(found.compute_s, 6),
            )
            for (batch, step), found in self._sums.items()
        )

    def _of(self, batch: str, step: int) -> _Sum:
        key = (batch, step)
        if key not in self._sums:
            self._sums[key] = _Sum()
        return self._sums[key]


def failed_whole(task: Task, disposition: Disposition, *, dead_letter: bool = True) -> Outcome:
    """The outcome of a task that failed before it made anything, or that is to be retried."""
    if isinstance(disposition, Retry):
        return Outcome(
            disposition, tally=Tally(batch=task.batch, step=task.step, retried=1, waiting_for=disposition.reason)
        )
    if not isinstance(disposition, Fail):
        return Outcome(disposition)
    settled = task.failed(disposition.reason)
    # What comes late is no failure of its step.
    tally = Tally(batch=task.batch, step=task.step, failed=len(settled)) if dead_letter else None
    return Outcome(disposition, settled=settled, tally=tally, failed_step=task.step, dead_letter=dead_letter)


def disposition_of(error: Exception, attempt: int) -> Disposition:
    """What an error means for its task, with a reason that fits a message."""
    # OpenCV has an exception of its own for memory.
    if getattr(error, "code", None) == _CV2_NO_MEMORY:
        error = MemoryError()
    disposition = settle(error, attempt)
    return Fail(shorten(disposition.reason), disposition.kind) if isinstance(disposition, Fail) else disposition


__all__ = ["Done", "Outcome", "StepMeasure", "Tallies", "disposition_of", "failed_whole"]
