"""The local engine's account of a batch: which images are settled, and how; then its report."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from muniflow.model.batch import Batch
from muniflow.model.keys import REPORT, output_key
from muniflow.model.lineage import Coverage
from muniflow.model.messages import BatchState, ImageState, Settled, leaf_count
from muniflow.model.report import final_state, image_entry, output_keys, report_chunks, report_header
from muniflow.store.listing import ImageRef
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
class _Open:
    coverage: Coverage = field(default_factory=Coverage)
    reasons: list[str] = field(default_factory=list)


@dataclass
class Account:
    """Settles images exactly as the coordinator's ledger does."""

    batch: Batch
    refs: Sequence[ImageRef]
    on_image: Callable[[ImageResult], None]
    started_at: float = field(default_factory=time.time)
    _open: dict[int, _Open] = field(default_factory=dict)
    _reasons: dict[int, tuple[str, ...]] = field(default_factory=dict)
    _settled: set[int] = field(default_factory=set)

    @property
    def complete(self) -> bool:
        """Whether every image is settled."""
        return len(self._settled) == len(self.refs)

    def add(self, settled: Iterable[Settled]) -> list[int]:
        """Record what is settled; returns the images that are complete by it."""
        completed = []
        for part in settled:
            if part.image in self._settled:
                continue
            image = self._open.setdefault(part.image, _Open())
            if image.coverage.add(part.lineage) and part.reason is not None:
                image.reasons.append(part.reason)
            if image.coverage.complete:
                completed.append(part.image)
                self._settled.add(part.image)
                del self._open[part.image]
                if image.reasons:
                    self._reasons[part.image] = tuple(dict.fromkeys(image.reasons))
                self.on_image(self.result_of(part.image))
        return completed

    def result_of(self, n: int) -> ImageResult:
        """The result of one image; one that is not settled counts as cancelled."""
        ref = self.refs[n]
        reasons = self._reasons.get(n, ())
        if n not in self._settled:
            return ImageResult(n, ref.key, "cancelled", ())
        if reasons:
            return ImageResult(n, ref.key, "failed", (), reasons)
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
