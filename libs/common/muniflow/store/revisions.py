"""Runs of a batch that is run anew: numbered, and the report of each is kept."""

import json
from collections.abc import Iterator

from muniflow.model.batch import Batch
from muniflow.model.keys import REPORT, output_key, revision_report_name
from muniflow.model.report import CHUNK_BYTES, IMAGES_FOLLOW
from muniflow.store.types import Store


def keep_report(batch: Batch, output: Store) -> int:
    """Keep the report of the last run of a batch under a name of its own, where the batch asks for another run.

    Called again before the new report is written, it does the same.

    Returns:
        The revision of the run that begins: one more than that of the report that is there, or that of the batch if
        that is higher.

    Raises:
        Unavailable: the store is away.
    """
    if batch.again is None:
        return batch.revision
    key = output_key(batch.destination, REPORT)
    if output.size(key) is None:
        return batch.revision
    with output.open(key) as stream:
        found = _revision(stream.readline())
    output.write(output_key(batch.destination, revision_report_name(found)), content_of(output, key), durable=True)
    return max(found + 1, batch.revision)


def content_of(output: Store, key: str) -> Iterator[bytes]:
    """A blob in chunks.

    Raises:
        Unavailable: the store is away.
    """
    with output.open(key) as stream:
        while chunk := stream.read(CHUNK_BYTES):
            yield chunk


def _revision(first: bytes) -> int:
    """The revision that the first line of a report says; 1 where it says none."""
    text = first.rstrip()
    try:
        header = json.loads(text + b"]}" if text.endswith(IMAGES_FOLLOW) else text)
    except (ValueError, RecursionError):
        return 1
    revision = header.get("revision", 1) if isinstance(header, dict) else 1
    return revision if isinstance(revision, int) and revision >= 1 else 1
