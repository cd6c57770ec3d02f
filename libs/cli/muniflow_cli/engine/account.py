"""The local engine's account of a batch: which images are settled, and how; then its report."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from muniflow.model.batch import Batch
from muniflow.model.keys import REPORT, output_key
from muniflow.model.ledger import Ledger
from muniflow.model.messages import BatchState, ImageState, Settled, Task, leaf_count
from muniflow.model.report import final_state, image_entry, output_keys, report_chunks, report_header
from muniflow.store.listing import ImageRef, first_task
from muniflow.store.types import Store


@dataclass(frozen=True)
class ImageResult:
    """An image that is settled."""

    image: int
    source: str
    state: ImageState
    outputs: tuple[str, ...]
    """Keys in the output store, when it is done."""
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class BatchResult:
    """A batch that is finished."""

    batch_id: str
    state: BatchState
    done: int
    failed: int
    cancelled: int
    outputs: int
    report: str
    """Key of the report in the output store."""
    seconds: float


@dataclass
class Account:
    """Settles the images of a batch by the ledger that the coordinator uses, and writes the report."""

    batch: Batch
    refs: Sequence[ImageRef]
    on_image: Callable[[ImageResult], None]
    started_at: float = field(default_factory=time.time)
    _ledger: Ledger = field(init=False)
    _reasons: dict[int, tuple[str, ...]] = field(default_factory=dict)
    _settled: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Begin with no image."""
        self._ledger = Ledger(self.batch.route)

    @property
    def complete(self) -> bool:
        """Whether every image is settled."""
        return len(self._settled) == len(self.refs)

    def begin(self, ref: ImageRef) -> Task:
        """Expect events of an image from now on; returns its first task."""
        task = first_task(self.batch, ref, now_s=time.time())
        self._ledger.open(ref.n, task.run)
        return task

    def add(self, settled: Iterable[Settled]) -> None:
        """Record what is settled, and tell of the images that are complete by it."""
        for image in self._ledger.apply(settled).settled:
            self._settled.add(image.image)
            if image.state == "failed":
                self._reasons[image.image] = image.reasons
            self.on_image(self.result_of(image.image))

    def result_of(self, n: int) -> ImageResult:
        """The result of one image; one that is not settled counts as cancelled."""
        ref = self.refs[n]
        if n not in self._settled:
            return ImageResult(n, ref.key, "cancelled", ())
        if n in self._reasons:
            return ImageResult(n, ref.key, "failed", (), self._reasons[n])
        leaves = leaf_count(self.batch.route)
        outputs = output_keys(self.batch.destination, ref.stem, self.batch.encoding, leaves)
        return ImageResult(n, ref.key, "done", tuple(outputs))

    def finish(self, output: Store, *, durable: bool) -> BatchResult:
        """Write the report; images that are not settled are cancelled."""
        failed = len(self._reasons)
        done = len(self._settled) - failed
        cancelled = len(self.refs) - len(self._settled)
        state = final_state(done, failed, cancelled)
        finished_at = time.time()
        header = report_header(
            self.batch,
            state,
            done=done,
            failed=failed,
            cancelled=cancelled,
            submitted_at=self.started_at,
            finished_at=finished_at,
        )
        key = output_key(self.batch.destination, REPORT)
        output.write(key, report_chunks(header, self._entries()), durable=durable)
        return BatchResult(
            batch_id=self.batch.batch_id,
            state=state,
            done=done,
            failed=failed,
            cancelled=cancelled,
            outputs=done * leaf_count(self.batch.route),
            report=key,
            seconds=finished_at - self.started_at,
        )

    def _entries(self) -> Iterator[dict[str, Any]]:
        for n in range(len(self.refs)):
            result = self.result_of(n)
            yield image_entry(n, result.source, result.state, result.outputs, result.reasons)
