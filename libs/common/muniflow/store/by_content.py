"""Which files below a prefix are images: by extension where that is known, else by their first bytes."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from muniflow.errors import NotFound, Rejected
from muniflow.model.skipped import SkippedFiles
from muniflow.model.source_formats import HEAD_BYTES, format_of, has_known_extension, kind_of
from muniflow.store.types import Blob, Store

BLOCK = 1000
"""Names that are looked at together."""
READS_IN_FLIGHT = 16
"""First bytes that are read at the same time: in an object store each is a round trip."""
FEW = 4
"""So few are read one by one: threads would cost more."""
EMPTY, UNKNOWN = "an empty file", "unknown data"


def images_below(prefix: str, source: Store, skipped: SkippedFiles) -> Iterator[tuple[Blob, bool]]:
    """Images in the order of the listing, and whether their extension is a known one.

    A file with a known extension is taken without a read. `skipped` gathers all others that are no image.

    Raises:
        Unavailable: the store is away.
    """
    blobs = source.list(prefix, skipped.add)
    while block := tuple(islice(blobs, BLOCK)):
        unknown = [blob for blob in block if not has_known_extension(blob.key)]
        if not unknown:
            for blob in block:
                yield blob, True
            continue
        problems = dict(zip((blob.key for blob in unknown), _problems(source, unknown), strict=True))
        for blob in block:
            if blob.key not in problems:
                yield blob, True
            elif (problem := problems[blob.key]) is None:
                yield blob, False
            else:
                skipped.add(blob.key, problem)


def _problems(source: Store, blobs: Sequence[Blob]) -> Sequence[str | None]:
    """Why each of them is no image; `None` where it is one."""

    def problem(blob: Blob) -> str | None:
        return _problem(source, blob)

    if len(blobs) <= FEW:
        return [problem(blob) for blob in blobs]
    with ThreadPoolExecutor(READS_IN_FLIGHT, "sniff") as threads:
        return list(threads.map(problem, blobs))


def _problem(source: Store, blob: Blob) -> str | None:
    if not blob.size_bytes:
        return EMPTY
    try:
        head = source.read(blob.key, 0, min(HEAD_BYTES, blob.size_bytes))
    except NotFound:
        return "not in the store when it was looked at"
    except Rejected as error:
        return str(error)
    if format_of(head) is not None:
        return None
    kind = kind_of(head)
    return UNKNOWN if kind is None else f"{kind}, which is not decoded"
