"""Reads the sizes of a batch's images beside the loop, from their headers. Never delays or fails a batch."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, NamedTuple

from muniflow.errors import Unavailable
from muniflow.forecast.route import Path
from muniflow.forecast.sizes import Picture, SizeSample, dice_of, sample_places
from muniflow.forecast.window import mean_intermediate_bytes
from muniflow.forecast.work import BatchWork
from muniflow.images.pictures import OpenBlob
from muniflow.runtime.executor import Executor
from muniflow.runtime.loop import Loop
from muniflow.store.types import Store
from muniflow_coordinator.runs.runs import Run, Runs
from muniflow_coordinator.state.types import ImageRow, State

log = logging.getLogger(__name__)

RETRY_DELAY_S = 5.0
"""Pause before sizes are read again after the source store or the database was not available."""

ReadPictures = Callable[[OpenBlob, Sequence[str]], Sequence[Picture | None]]
"""`muniflow.images.pictures.read_pictures`."""


class BatchSample(NamedTuple):
    """What the sizes of a batch's images say."""

    sizes: SizeSample
    work: BatchWork
    image_bytes: int
    """Of the intermediates of one image, in the mean."""


OnSampled = Callable[[BatchSample], None]


@dataclass(eq=False)
class Sampler:
    """Samples one batch after the other."""

    loop: Loop
    executor: Executor
    state: State
    source: Store
    runs: Runs
    read_pictures: ReadPictures

    def sample(self, run: Run, path: Path, on_sampled: OnSampled) -> None:
        """Read the sizes of a batch, then call `on_sampled` on the loop; never, if the batch ends before."""
        if self.runs.numbered(run.number) is run:
            work = partial(self._sample, run.number, run.id, run.batch.source, run.counts.total, path)
            self.executor.submit(work, partial(self._on_done, run, path, on_sampled))

    def _on_done(self, run: Run, path: Path, on_sampled: OnSampled, done: Future[BatchSample]) -> None:
        try:
            on_sampled(done.result())
        except Unavailable as error:
            log.info("cannot read the sizes of images, retrying: %s", error, extra={"batch": run.id})
            self.loop.call_later(RETRY_DELAY_S, lambda: self.sample(run, path, on_sampled))
        except Exception:
            log.exception("reading the sizes of images failed; they are guessed", extra={"batch": run.id})

    def _sample(self, number: int, batch_id: str, source: str, count: int, path: Path) -> BatchSample:
        rows = [row for row, _ in self.state.opened(number, sample_places(count, dice_of(batch_id)))]
        sample = read_sizes(count, rows, source, Blobs(self.source, self.executor), self.read_pictures)
        return BatchSample(sample, BatchWork.of(sample, path), mean_intermediate_bytes(sample, path))


def read_sizes(
    count: int, rows: Sequence[ImageRow], source: str, blobs: "Blobs", read_pictures: ReadPictures
) -> SizeSample:
    """Return the sizes of these images of a batch of `count`, which lie below `source`."""
    keys = [f"{source}{row.stem}{row.suffix}" for row in rows]
    return SizeSample.of(count, (row.image for row in rows), read_pictures(blobs.open, keys))


class Blobs:
    """The source store for one sample: once it was away, it is not asked for each of the other images, too."""

    def __init__(self, source: Store, executor: Executor) -> None:
        """Nothing is known to be away."""
        self._source = source
        self._executor = executor
        self._problem: Unavailable | None = None

    def open(self, key: str) -> BinaryIO:
        """Return a blob as a stream.

        Raises:
            Unavailable: the store is away, or was before.
        """
        if self._executor.stopped:
            self._problem = Unavailable("the source store", "stopping")
        if self._problem is not None:
            raise self._problem
        try:
            return self._source.open(key)
        except Unavailable as error:
            self._problem = error
            raise
