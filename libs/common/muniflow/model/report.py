"""The shape of `report.json`: the same on both engines, written as a stream whatever the number of images.

```json
{"v": 1, "batch_id": "…", "municipality": "…", "state": "partial", "destination": "…",
 "operations": [{"op": "resize", …}], "output": {"format": "jpg"}, "decode": "exact",
 "checksums": "sha256", "totals": {"images": 2, "done": 1, "failed": 1, "cancelled": 0, "outputs": 4, "skipped": 1},
 "skipped": {"count": 1, "reasons": {"a GIF, which is not decoded": 1}, "named": [{"source": "c.gif", "reason": "…"}]},
 "times": {"submitted_at": 1.0, "finished_at": 3.5, "seconds": 2.5},
 "forecast": {"p50_s": 2.4, "p90_s": 3.1, "actual_s": 2.5},
 "images": [
{"image": 0, "source": "a.jpg", "state": "done", "outputs": ["…/a-0.jpg", …], "reasons": [], "reason_code": null,
 "source_sha256": "…", "outputs_sha256": ["…", …]},
{"image": 1, "source": "b.jpg", "state": "failed", "outputs": [], "reasons": ["operations[0] (resize): not an image"],
 "reason_code": "not_an_image",
 "source_sha256": null, "outputs_sha256": []}
], "sha256": "…"}
```
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from muniflow.model.batch import Batch
from muniflow.model.checksums import ALGORITHM, ImageSums
from muniflow.model.keys import output_key
from muniflow.model.messages import BatchState, Encoding, ImageState, leaf_count, output_name
from muniflow.model.report_end import last_line
from muniflow.model.report_schema import VERSION
from muniflow.reason_codes import UNKNOWN

CHUNK_BYTES = 256 * 1024
IMAGES_FOLLOW = b'"images": ['
"""How the first line of a report ends."""
_encode = json.JSONEncoder(ensure_ascii=False).encode


class ForecastEntry(NamedTuple):
    """What was forecast at acceptance, and what came: seconds from submission to the end."""

    p50_s: float | None
    p90_s: float | None
    """`None`: no forecast was made."""
    actual_s: float
    reason: str | None = None
    """Why none was made."""

    @classmethod
    def without(cls, actual_s: float, reason: str) -> "ForecastEntry":
        """The entry of a batch without a forecast."""
        return cls(None, None, round(actual_s, 3), reason)

    @classmethod
    def of_the_local_engine(cls, actual_s: float) -> "ForecastEntry":
        """The entry of a batch that ran without a coordinator."""
        return cls.without(actual_s, "the local engine makes none")

    def document(self) -> dict[str, Any]:
        """As it stands in the report."""
        values = self._asdict()
        return values if self.reason is not None else {name: values[name] for name in ("p50_s", "p90_s", "actual_s")}


class About(NamedTuple):
    """What a report says of an image beside its end; what is `None` is left out."""

    version: str | None = None
    """`Blob.version` of its source when the list was read."""
    revision: int | None = None
    """The earlier run that made its outputs."""
    metadata: tuple[str, ...] | None = None
    """What its outputs keep of the metadata of its source."""

    def document(self) -> dict[str, Any]:
        """As it stands in the report."""
        values = {"metadata": self.metadata, "source_version": self.version, "revision": self.revision}
        return {name: value for name, value in values.items() if value is not None}


UNKNOWN_ABOUT = About()


class Times(NamedTuple):
    """When a batch began and ended, unix seconds."""

    submitted_at: float
    finished_at: float

    @property
    def seconds(self) -> float:
        """From one to the other."""
        return round(max(self.finished_at - self.submitted_at, 0.0), 3)

    def document(self) -> dict[str, Any]:
        """As it stands in the report."""
        return {
            "submitted_at": round(self.submitted_at, 3),
            "finished_at": round(self.finished_at, 3),
            "seconds": self.seconds,
        }


def output_keys(destination: str, stem: str, encoding: Encoding, leaves: int) -> list[str]:
    """The keys of all outputs of one image, in split order."""
    return [output_key(destination, output_name(stem, index, encoding)) for index in range(leaves)]


def image_entry(
    image: int,
    source: str,
    state: ImageState,
    outputs: Sequence[str] = (),
    reasons: Sequence[str] = (),
    *,
    code: str | None = None,
    sums: ImageSums | None = None,
    about: About = UNKNOWN_ABOUT,
) -> dict[str, Any]:
    """The entry of one image. `outputs` are keys in the output store, given only when the image is done.

    `sums`: its digests, or `NO_SUMS`; `None` where the batch wants none.
    """
    digests = {} if sums is None else {"source_sha256": sums.source, "outputs_sha256": list(sums.outputs)}
    return {
        "image": image,
        "source": source,
        "state": state,
        "outputs": list(outputs),
        "reasons": list(reasons),
        "reason_code": (code or UNKNOWN) if state == "failed" else None,
        **digests,
        **about.document(),
    }


def final_state(done: int, failed: int, cancelled: int) -> BatchState:
    """The terminal state of a batch whose images are all settled."""
    if cancelled:
        return "cancelled"
    if not failed:
        return "done"
    return "partial" if done else "failed"


def report_header(
    batch: Batch,
    state: BatchState,
    *,
    done: int,
    failed: int,
    cancelled: int,
    submitted_at: float,
    finished_at: float,
    forecast: ForecastEntry | None = None,
) -> dict[str, Any]:
    """Everything of the report but its images. Times are unix seconds; the counts are images.

    Without a `forecast` the report says that nobody makes one: the local engine.
    """
    times = Times(submitted_at, finished_at)
    return {
        "v": VERSION,
        "batch_id": batch.batch_id,
        **({"name": batch.name} if batch.name else {}),
        "municipality": batch.municipality,
        "state": state,
        **({"revision": batch.revision} if batch.revision > 1 else {}),
        "destination": batch.destination,
        **making_of(batch),
        **({"checksums": ALGORITHM} if batch.checksums else {}),
        "totals": {
            "images": done + failed + cancelled,
            "done": done,
            "failed": failed,
            "cancelled": cancelled,
            "outputs": done * leaf_count(batch.route),
            "skipped": batch.skipped.count,
        },
        **({"skipped": batch.skipped.document()} if batch.skipped.count else {}),
        **({"replaced": batch.replaced} if batch.replaced else {}),
        **batch.changes.document(),
        "times": times.document(),
        "forecast": (forecast or ForecastEntry.of_the_local_engine(times.seconds)).document(),
    }


def making_of(batch: Batch) -> dict[str, Any]:
    """What decides the bytes of outputs, as a report has it."""
    return {
        "operations": [{"op": step.op, **step.params} for step in batch.route],
        "output": batch.encoding.model_dump(mode="json", exclude_none=True),
        "decode": batch.decode,
        **(batch.rendering.chosen() if batch.rendering else {}),
    }


def report_chunks(header: Mapping[str, Any], entries: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """The report as UTF-8 JSON in chunks, one image a line, in constant memory."""
    return report_of_lines(header, (_encode(entry).encode() for entry in entries))


def report_of_lines(header: Mapping[str, Any], lines: Iterable[bytes]) -> Iterator[bytes]:
    """The same, of entries that are JSON already."""
    whole = hashlib.sha256(usedforsecurity=False)
    buffer = bytearray(_encode(header).encode().removesuffix(b"}"))
    buffer += b", " + IMAGES_FOLLOW
    separator = b"\n"
    for line in lines:
        buffer += separator + line
        separator = b",\n"
        if len(buffer) >= CHUNK_BYTES:
            whole.update(buffer)
            yield bytes(buffer)
            buffer.clear()
    buffer += b"\n"
    whole.update(buffer)
    yield bytes(buffer) + last_line(whole.hexdigest())
