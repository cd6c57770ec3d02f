"""The local engine's account of a batch: which images are settled, and how; then its report."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from muniflow.errors import Fault, Invalid
from muniflow.model.batch import Batch
from muniflow.model.changes import Kept
from muniflow.model.checksums import NO_SUMS, ImageSums
from muniflow.model.keys import REPORT, output_key, share_report_name, work_prefix
from muniflow.model.ledger import Ledger, SettledImage
from muniflow.model.messages import BatchState, ImageState, Settled, Task, leaf_count
from muniflow.model.report import About, final_state, image_entry, output_keys, report_chunks, report_header
from muniflow.model.share import WHOLE_BATCH, Share, ShareOfList, digest_of_keys
from muniflow.model.skipped import SkippedFiles
from muniflow.store.earlier_run import EarlierRun
from muniflow.store.listing import ImageRef, first_task, iter_images
from muniflow.store.old_outputs import OldOutputs
from muniflow.store.revisions import keep_report
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
    code: str | None = None
    """For `failed`: its reason code."""


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
    shard: str | None = None
    """Which share of the batch it is; `None`: all of it. The numbers are those of the share."""
    revision: int = 1
    """Which run of the batch it is, where it was run `again`."""
    replaced: int = 0
    """Outputs of an earlier run that were removed first."""
    kept: int = 0
    """Images that had not changed since the last run, and were not run; they are among the done ones."""
    gone: int = 0
    """Sources of the last run that the batch no longer has; the report names them."""
    skipped: int = 0
    """Files below its `source` that were not taken; the report names them."""
    skipped_reasons: Mapping[str, int] = field(default_factory=dict)


@dataclass
class Account:
    """Settles the images of a batch by the ledger that the coordinator uses, and writes the report."""

    batch: Batch
    refs: Sequence[ImageRef]
    """Those that are run, in the order of the batch: all, or those of a share."""
    on_image: Callable[[ImageResult], None]
    part: ShareOfList | None = None
    """The share of the batch that this is; `None`: the whole batch."""
    kept: Mapping[int, Kept] = field(default_factory=dict)
    """Images that have outputs of an earlier run."""
    started_at: float = field(default_factory=time.time)
    _ledger: Ledger = field(init=False)
    _failed: dict[int, SettledImage] = field(default_factory=dict)
    _sums: dict[int, bytes] = field(default_factory=dict)
    """Packed digests of done images."""
    _metadata: dict[int, tuple[str, ...]] = field(default_factory=dict)
    """What outputs of done images keep of it, where that is known."""
    _settled: set[int] = field(default_factory=set)
    _in_steps: set[int] = field(default_factory=set)
    """Images that may have left intermediates."""

    def __post_init__(self) -> None:
        """Begin with the images that are kept."""
        self._ledger = Ledger(self.batch.route)
        self._settled.update(self.kept)
        for n, kept in self.kept.items():
            self._note(n, kept.sums, kept.metadata)

    @property
    def to_run(self) -> Sequence[ImageRef]:
        """Return those that are run now."""
        return [ref for ref in self.refs if ref.n not in self.kept] if self.kept else self.refs

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
            if not image.direct:
                self._in_steps.add(image.image)
            self._note(image.image, image.sums, image.metadata)
            if image.state == "failed":
                self._failed[image.image] = image
            self.on_image(self.result_of(image.image))

    def _note(self, n: int, sums: ImageSums | None, metadata: tuple[str, ...] | None) -> None:
        if sums is not None:
            self._sums[n] = sums.pack()
        if metadata is not None:
            self._metadata[n] = metadata

    def result_of(self, n: int) -> ImageResult:
        """The result of one image; one that is not settled counts as cancelled."""
        ref = self.refs[self._share.position(n)]
        if n not in self._settled:
            return ImageResult(n, ref.key, "cancelled", ())
        if (failed := self._failed.get(n)) is not None:
            return ImageResult(n, ref.key, "failed", (), failed.reasons, failed.code)
        leaves = leaf_count(self.batch.route)
        outputs = output_keys(self.batch.destination, ref.stem, self.batch.encoding, leaves)
        return ImageResult(n, ref.key, "done", tuple(outputs))

    def remove_intermediates(self, work: Store) -> None:
        """Remove what is left in the work store, and nothing of other shares of the batch, which may still run."""
        if self.part is None:
            work.delete_prefix(work_prefix(self.batch.batch_id))
            return
        for n in sorted(self._in_steps):
            work.delete_prefix(work_prefix(self.batch.batch_id, n))

    def finish(self, output: Store, *, durable: bool) -> BatchResult:
        """Write the report; images that are not settled are cancelled."""
        failed = len(self._failed)
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
        name = REPORT
        if self.part is not None:
            name = share_report_name(self.part.share.number, self.part.share.of)
            header["shard"] = self.part.document()
        key = output_key(self.batch.destination, name)
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
            shard=None if self.part is None else str(self.part.share),
            revision=self.batch.revision,
            replaced=self.batch.replaced,
            kept=self.batch.changes.kept,
            gone=self.batch.changes.gone,
            skipped=self.batch.skipped.count,
            skipped_reasons=self.batch.skipped.reasons,
        )

    @property
    def _share(self) -> Share:
        return WHOLE_BATCH if self.part is None else self.part.share

    def _entries(self) -> Iterator[dict[str, Any]]:
        for ref in self.refs:
            result = self.result_of(ref.n)
            said = (ref.n, result.source, result.state, result.outputs, result.reasons)
            yield image_entry(*said, code=result.code, sums=self._sums_of(ref.n), about=self._about(ref))

    def _about(self, ref: ImageRef) -> About:
        kept = self.kept.get(ref.n)
        return About(ref.version, None if kept is None else kept.revision, self._metadata.get(ref.n))

    def _sums_of(self, n: int) -> ImageSums | None:
        if not self.batch.checksums:
            return None
        return ImageSums.unpack(self._sums[n]) if n in self._sums else NO_SUMS


def open_account(
    batch: Batch, source: Store, output: Store, share: Share | None, on_image: Callable[[ImageResult], None]
) -> Account:
    """The account of a batch, or of one share of it; every image of the batch is checked in both cases.

    Raises:
        Invalid: the images of the batch cannot be used.
        Unavailable: the source cannot be listed.
    """
    skipped = SkippedFiles()
    if share is not None and batch.replace:
        raise Invalid((Fault("replace", "not for a share: the others may have begun; remove old outputs before"),))
    if share is not None and batch.again == "changed":
        raise Invalid((Fault("again", "`changed` is not for a share, which has no report of the whole batch"),))
    refs = tuple(iter_images(batch, source, output, skipped=skipped))
    batch = replace(batch, skipped=skipped.result())
    if share is None and (earlier := EarlierRun.find(batch, output)) is not None:
        found = ((ref.n, earlier.kept(ref)) for ref in refs)
        kept = {n: made for n, made in found if made is not None}
        batch = replace(batch, changes=earlier.changes(), replaced=earlier.remove_gone())
        return Account(replace(batch, revision=keep_report(batch, output)), refs, on_image, kept=kept)
    batch = replace(batch, replaced=_clear(batch, refs, output))
    batch = replace(batch, revision=keep_report(batch, output) if share is None else 1)
    if share is None:
        return Account(batch, refs, on_image)
    part = ShareOfList(share, len(refs), digest_of_keys(ref.key for ref in refs))
    return Account(batch, tuple(refs[n] for n in share.numbers(len(refs))), on_image, part)


def _clear(batch: Batch, refs: Sequence[ImageRef], output: Store) -> int:
    """Refuse or remove what an earlier run left in the destination; returns how many outputs were removed."""
    if (old := OldOutputs.find(batch, output)) is None:
        return 0
    for ref in refs:
        old.expect(ref.stem)
    old.check()
    return old.remove()
