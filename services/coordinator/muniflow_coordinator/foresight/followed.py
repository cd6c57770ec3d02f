"""The running batches, and what is known ahead of each: its sizes, its work, when it is due."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from muniflow.forecast.load import BatchLoad
from muniflow.forecast.route import Path
from muniflow.forecast.stage import Stages
from muniflow.forecast.window import mean_intermediate_bytes
from muniflow.forecast.work import BatchWork, Part, StageWork
from muniflow.model.batch import is_express
from muniflow.model.operation import Operations
from muniflow_coordinator.foresight.due import due_of
from muniflow_coordinator.foresight.fleet import carried, completed
from muniflow_coordinator.foresight.forecasts import Forecasts
from muniflow_coordinator.foresight.guess import guessed
from muniflow_coordinator.foresight.remaining import Position
from muniflow_coordinator.foresight.sampler import BatchSample, Sampler
from muniflow_coordinator.foresight.windows import Windows
from muniflow_coordinator.runs.runs import Run, Runs
from muniflow_coordinator.runs.window import WindowNeed

log = logging.getLogger(__name__)


@dataclass(slots=True)
class FollowedBatch:
    """A run, and what is known ahead of it."""

    run: Run
    due_at: float
    express: bool
    """Whether its tasks take the express lane."""
    work: BatchWork
    carried: bool = False
    """Whether every step of its route is carried by a stage."""
    sampled: bool = False
    """Whether `work` is that of its own images, and not guessed."""
    area: float = 0.0
    """Mean pixels of its images; 0: not known."""
    image_bytes: int = 0
    """Of the intermediates of one image, in the mean."""

    @property
    def position(self) -> Position:
        """Return how far it has come."""
        run = self.run
        return Position(run.counts.total, run.counts.pending, len(run.in_flight), run.tallies.handled)

    @property
    def mean_pixels(self) -> float:
        """Return the mean pixels of its images, as read or as workers tell; 0: not known."""
        return self.area or self.run.tallies.mean_pixels or 0.0

    def load(self, left: Mapping[str, StageWork], parts: Sequence[Part] = ()) -> BatchLoad:
        """Return what it still needs, and how it takes turns."""
        run, batch = self.run, self.run.batch
        turns = batch.owner, batch.priority, batch.weight, self.express, self.due_at
        return BatchLoad(run.id, run.counts.pending, left, *turns, self.mean_pixels, len(run.in_flight), parts)

    def window_need(self, left: Mapping[str, StageWork]) -> WindowNeed:
        """Return what its window follows from."""
        return WindowNeed(left, self.mean_pixels, self.image_bytes)


@dataclass(eq=False)
class FollowedBatches:
    """All of them, by number. On the loop."""

    runs: Runs
    sampler: Sampler
    operations: Operations
    stages: Stages
    windows: Windows
    forecasts: Forecasts
    express_images: int
    """A batch of at most so many images is express."""
    on_known: Callable[[], None]
    """Called after the sizes of a batch became known."""
    _batches: dict[int, FollowedBatch] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Begin without any."""
        self.all_stages = completed(self.stages, self.operations)
        self._carried = carried(self.stages)

    def accepted(self, run: Run) -> None:
        """Begin to read the sizes of a new batch, whatever else happens at this moment."""
        if run.number not in self._batches:
            self._batches[run.number] = self._new(run, self._batches)

    def follow(self) -> list[FollowedBatch]:
        """Take in new runs and forget those that ended; return all that run."""
        running = {run.number: run for run in self.runs if run.state == "running"}
        before, self._batches = self._batches, {}
        for number, run in running.items():
            known = before.get(number)
            self._batches[number] = known if known is not None and known.run is run else self._new(run, before)
        return list(self._batches.values())

    def _new(self, run: Run, others: Mapping[int, FollowedBatch]) -> FollowedBatch:
        guess = guessed(run.counts.total, (other.area for other in others.values()))
        path = work = None
        try:
            path = Path.of(run.batch, self.operations, self.all_stages)
            work = BatchWork.of(guess, path)
        except Exception:
            # An operation of another build, or one with a fault: the other batches are forecast nevertheless.
            log.exception("cannot forecast this batch: its work is counted as next to nothing", extra={"batch": run.id})
        self.forecasts.restore(run)
        batch = FollowedBatch(
            run,
            due_of(run, self.stages),
            is_express(run.counts.total, self.express_images),
            work or BatchWork(guess.count, guess.sampled, ()),
            carried=self._carried.issuperset(step.op for step in run.batch.route),
        )
        if path is not None and work is not None:
            batch.image_bytes = mean_intermediate_bytes(guess, path)
            self.sampler.sample(run, path, partial(self._on_sampled, batch))
        return batch

    def _on_sampled(self, batch: FollowedBatch, sampled: BatchSample) -> None:
        batch.area, batch.work, batch.sampled = sampled.sizes.mean_pixels, sampled.work, True
        if batch.area:
            batch.image_bytes = sampled.image_bytes
            self.windows.begin(batch.run.number, batch.area, batch.image_bytes)
        self.on_known()
