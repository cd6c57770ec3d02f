"""The shape of `report.json`: the same on both engines, written as a stream whatever the number of images.

```json
{"v": 1, "batch_id": "…", "municipality": "…", "state": "partial", "destination": "…",
 "operations": [{"op": "resize", …}], "output": {"format": "jpg"}, "decode": "exact",
 "totals": {"images": 2, "done": 1, "failed": 1, "cancelled": 0, "outputs": 4},
 "times": {"submitted_at": 1.0, "finished_at": 3.5, "seconds": 2.5},
 "images": [
{"image": 0, "source": "a.jpg", "state": "done", "outputs": ["…/a-0.jpg", …], "reasons": []},
{"image": 1, "source": "b.jpg", "state": "failed", "outputs": [], "reasons": ["operations[0] (resize): not an image"]}
]}
```
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from muniflow.model.batch import Batch
from muniflow.model.keys import output_key
from muniflow.model.messages import BatchState, Encoding, ImageState, leaf_count, output_name

CHUNK_BYTES = 256 * 1024
_encode = json.JSONEncoder(ensure_ascii=False).encode


def output_keys(destination: str, stem: str, encoding: Encoding, leaves: int) -> list[str]:
    """The keys of all outputs of one image, in split order."""
    return [output_key(destination, output_name(stem, index, encoding)) for index in range(leaves)]


def image_entry(
    image: int, source: str, state: ImageState, outputs: Sequence[str] = (), reasons: Sequence[str] = ()
) -> dict[str, Any]:
    """The entry of one image. `outputs` are keys in the output store, given only when the image is done."""
    return {
        "image": image,
        "source": source,
        "state": state,
        "outputs": list(outputs),
        "reasons": list(reasons),
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
) -> dict[str, Any]:
    """Everything of the report but its images. Times are unix seconds; the counts are images."""
    return {
        "v": 1,
        "batch_id": batch.batch_id,
        "municipality": batch.municipality,
        "state": state,
        "destination": batch.destination,
        "operations": [{"op": step.op, **step.params} for step in batch.route],
        "output": batch.encoding.model_dump(mode="json", exclude_none=True),
        "decode": batch.decode,
        "totals": {
            "images": done + failed + cancelled,
            "done": done,
            "failed": failed,
            "cancelled": cancelled,
            "outputs": done * leaf_count(batch.route),
        },
        "times": {
            "submitted_at": round(submitted_at, 3),
            "finished_at": round(finished_at, 3),
            "seconds": round(max(finished_at - submitted_at, 0.0), 3),
        },
    }


def report_chunks(header: Mapping[str, Any], entries: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """The report as UTF-8 JSON in chunks, one image a line, in constant memory."""
    buffer = bytearray(_encode(header).encode().removesuffix(b"}"))
    buffer += b', "images": ['
    separator = b"\n"
    for entry in entries:
        buffer += separator + _encode(entry).encode()
        separator = b",\n"
        if len(buffer) >= CHUNK_BYTES:
            yield bytes(buffer)
            buffer.clear()
    buffer += b"\n]}\n"
    yield bytes(buffer)
