"""Sizes of many sources from their headers alone, read side by side: for forecasts. No pixel is decoded."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import BinaryIO

from muniflow.errors import Rejected
from muniflow.forecast.sizes import Picture
from muniflow.forecast.task_class import READS
from muniflow.images.header import read_header, read_start
from muniflow.images.limits import DEFAULT_LIMITS, ImageLimits

THREADS = 16
"""Headers read at a time: an object store answers each after some 10 to 50 ms, so one by one 1,000 take up to 50 s."""

OpenBlob = Callable[[str], BinaryIO]
"""`Store.open` of the source store."""


def read_pictures(
    open_blob: OpenBlob, keys: Sequence[str], limits: ImageLimits = DEFAULT_LIMITS
) -> list[Picture | None]:
    """Size and format of each source, in the order of `keys`; `None` for what no step would accept.

    Reads 64 KiB of nearly all files. A TIFF is read whole: it may state its size anywhere.

    Raises:
        Unavailable: the store cannot answer now.
    """
    with ThreadPoolExecutor(min(THREADS, max(len(keys), 1)), "pictures") as pool:
        return list(pool.map(partial(read_picture, open_blob, limits=limits), keys))


def read_picture(open_blob: OpenBlob, key: str, limits: ImageLimits = DEFAULT_LIMITS) -> Picture | None:
    """The same for one source."""
    try:
        with closing(open_blob(key)) as stream:
            start = read_start(stream, limits)
            header = start.header
            if header is None and start.refused is None:
                rest = stream.read(limits.max_encoded_bytes - len(start.data))
                header = read_header(memoryview(start.data + rest), limits)
    except Rejected:
        return None
    return None if header is None else Picture(header.size, READS[header.format])
