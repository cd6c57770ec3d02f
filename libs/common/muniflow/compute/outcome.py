"""What became of a task, as data. No numpy here: the worker's parent process reads it, too."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from muniflow.messages import Settled, Tally, Task
from muniflow.settle import Done, Fail, Fate, Retry


@dataclass(slots=True)
class StepMeasure:
    """What one step cost in one task, over all tiles that the task made of its input."""

    op: str
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

    fate: Fate
    """`Fail` when any part of the task failed; parts that did not fail follow or are settled all the same."""
    follow: tuple[Task, ...] = ()
    settled: tuple[Settled, ...] = ()
    tallies: tuple[Tally, ...] = ()
    measures: tuple[StepMeasure, ...] = ()
    outputs: tuple[str, ...] = ()
    """Keys of the outputs that were written."""
    failed_step: int = 0
    """For `Fail`: the first step that failed, as an index into the route."""
    dead_letter: bool = True
    """For `Fail`: whether to keep a copy of the task. Not for a late duplicate whose input is gone for good."""


@dataclass
class Tallies:
    """Tallies of several tasks, added up by batch and step."""

    _found: dict[tuple[str, int], list[Tally]] = field(default_factory=dict)

    def add(self, tallies: Iterable[Tally]) -> None:
        """Add these."""
        for tally in tallies:
            self._found.setdefault((tally.batch, tally.step), []).append(tally)

    def all(self) -> tuple[Tally, ...]:
        """One tally for each batch and step."""
        return tuple(_sum(batch, step, found) for (batch, step), found in self._found.items())


def _sum(batch: str, step: int, tallies: Sequence[Tally]) -> Tally:
    return Tally(
        batch=batch,
        step=step,
        done=sum(tally.done for tally in tallies),
        failed=sum(tally.failed for tally in tallies),
        retried=sum(tally.retried for tally in tallies),
        waiting_for=next((tally.waiting_for for tally in reversed(tallies) if tally.waiting_for), None),
        pixels=sum(tally.pixels for tally in tallies),
        compute_s=sum(tally.compute_s for tally in tallies),
    )


def failed_whole(task: Task, fate: Fate, *, dead_letter: bool = True) -> Outcome:
    """The outcome of a task that failed before it made anything, or that is to be retried."""
    if isinstance(fate, Retry):
        return Outcome(fate, tallies=(Tally(batch=task.batch, step=task.step, retried=1, waiting_for=fate.reason),))
    if not isinstance(fate, Fail):
        return Outcome(fate)
    settled = task.failed(fate.reason)
    # What comes late is no failure of its step.
    tallies = (Tally(batch=task.batch, step=task.step, failed=len(settled)),) if dead_letter else ()
    return Outcome(fate, settled=settled, tallies=tallies, failed_step=task.step, dead_letter=dead_letter)


__all__ = ["Done", "Outcome", "StepMeasure", "Tallies", "failed_whole"]
