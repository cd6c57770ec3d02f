"""Blobs of a store as HTTP answers: images with the fixed type of their bytes, and reports. Nothing else is sent."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import BinaryIO

from starlette.concurrency import run_in_threadpool

from muniflow.errors import NotFound
from muniflow.images.fields import Damaged
from muniflow.images.header import ImageStart, read_start
from muniflow.model.report_rows import CONTENT_TYPES as ROW_TYPES
from muniflow.model.report_rows import RowFormat, rows_of
from muniflow.model.source_formats import SourceFormat, format_of
from muniflow.store.types import Store
from muniflow_gateway.streaming import StreamedAnswer

CHUNK_BYTES = 64 * 1024
MAX_HEAD_BYTES = 2**20
"""Of an image that is sent, in memory for its content type; dozens are sent at a time."""
CONTENT_TYPES: dict[SourceFormat, str] = {
    "jpeg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "tiff": "image/tiff",
    "heif": "image/heic",
    "avif": "image/avif",
}
OUTPUT_TYPES = tuple(kind for name, kind in CONTENT_TYPES.items() if name in {"jpeg", "png", "webp"})
JSON = "application/json"


async def send_image(store: Store, key: str) -> StreamedAnswer:
    """An image as it is, with the content type of its bytes, whatever its name. One that is truncated is sent, too.

    Raises:
        NotFound: it is not there, or it is no image of a format that muniflow reads.
        Unavailable: the store is away.
    """
    return await run_in_threadpool(_image, store, key)


async def send_report(store: Store, key: str) -> StreamedAnswer:
    """A report that muniflow wrote.

    Raises:
        NotFound: it is not there.
        Unavailable: the store is away.
    """
    size_bytes, stream = await run_in_threadpool(_opened, store, key)
    return _answer(size_bytes, _chunks(stream), JSON)


async def send_rows(store: Store, key: str, form: RowFormat, name: str) -> StreamedAnswer:
    """A report as NDJSON or CSV, one row for each image, made while it is sent: in constant memory.

    Raises:
        NotFound: it is not there.
        Unavailable: the store is away.
    """
    _, stream = await run_in_threadpool(_opened, store, key)
    headers = {"Cache-Control": "private, max-age=60", "Content-Disposition": f'attachment; filename="{name}"'}
    return StreamedAnswer(rows_of(_chunks(stream), form), media_type=ROW_TYPES[form], headers=headers)


def read_chunks(store: Store, key: str) -> Iterator[bytes]:
    """A blob in chunks."""
    yield from _chunks(store.open(key))


def _image(store: Store, key: str) -> StreamedAnswer:
    size_bytes, stream = _opened(store, key)
    with ExitStack() as opened:
        opened.enter_context(stream)
        start = read_start(stream, max_bytes=MAX_HEAD_BYTES)
        content_type = content_type_of(start)
        if content_type is None:
            raise NotFound(f"{key} is not an image, and only images are sent")
        opened.pop_all()
    return _answer(size_bytes, _chunks(stream, start.data), content_type)


def content_type_of(start: ImageStart) -> str | None:
    """The content type of an image, also of one that no step accepts; `None` of anything else.

    Of a TIFF only the first bytes count: its size can be anywhere in the file.
    """
    found = format_of(memoryview(start.data))
    return None if found is None or isinstance(start.refused, Damaged) else CONTENT_TYPES[found]


def _opened(store: Store, key: str) -> tuple[int, BinaryIO]:
    """Size in bytes, and the stream."""
    size_bytes = store.size(key)
    if size_bytes is None:
        raise NotFound(f"{key} is not there")
    return size_bytes, store.open(key)


def _answer(size_bytes: int, chunks: Iterator[bytes], content_type: str) -> StreamedAnswer:
    headers = {"Content-Length": str(size_bytes), "Cache-Control": "private, max-age=60"}
    return StreamedAnswer(chunks, media_type=content_type, headers=headers)


def _chunks(stream: BinaryIO, start: bytes = b"") -> Iterator[bytes]:
    """What was read already, and the rest."""
    with stream:
        if start:
            yield start
        while chunk := stream.read(CHUNK_BYTES):
            yield chunk
