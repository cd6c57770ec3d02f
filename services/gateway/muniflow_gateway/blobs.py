"""Blobs of a store as HTTP answers: images with the fixed type of their bytes, and reports. Nothing else is sent."""

from collections.abc import Iterator
from typing import BinaryIO

from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from muniflow.errors import NotFound
from muniflow.images.limits import SourceFormat
from muniflow.store.types import Store
from muniflow_gateway.upload.image_size import image_format

CHUNK_BYTES = 256 * 1024
CONTENT_TYPES: dict[SourceFormat, str] = {
    "jpeg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "tiff": "image/tiff",
}
OUTPUT_TYPES = tuple(kind for name, kind in CONTENT_TYPES.items() if name != "tiff")
JSON = "application/json"


async def send_image(store: Store, key: str) -> StreamingResponse:
    """An image as it is, with the content type of its bytes, whatever its name. One that is truncated is sent, too.

    Raises:
        NotFound: it is not there, or it is no image of a format that muniflow reads.
        Unavailable: the store is away.
    """
    content_type = await run_in_threadpool(_content_type, store, key)
    if content_type is None:
        raise NotFound(f"{key} is no image, and only images are sent")
    size_bytes, stream = await run_in_threadpool(_opened, store, key)
    return _answer(size_bytes, _chunks(stream), content_type)


async def send_report(store: Store, key: str) -> StreamingResponse:
    """A report that muniflow wrote.

    Raises:
        NotFound: it is not there.
        Unavailable: the store is away.
    """
    size_bytes, stream = await run_in_threadpool(_opened, store, key)
    return _answer(size_bytes, _chunks(stream), JSON)


def read_chunks(store: Store, key: str) -> Iterator[bytes]:
    """A blob in chunks."""
    yield from _chunks(store.open(key))


def _content_type(store: Store, key: str) -> str | None:
    """The content type of an image, or `None` for anything else."""
    with store.open(key) as stream:
        found = image_format(stream)
    return None if found is None else CONTENT_TYPES[found]


def _opened(store: Store, key: str) -> tuple[int, BinaryIO]:
    """Size in bytes, and the stream."""
    size_bytes = store.size(key)
    if size_bytes is None:
        raise NotFound(f"{key} is not there")
    return size_bytes, store.open(key)


def _answer(size_bytes: int, chunks: Iterator[bytes], content_type: str) -> StreamingResponse:
    headers = {"Content-Length": str(size_bytes), "Cache-Control": "private, max-age=60"}
    return StreamingResponse(chunks, media_type=content_type, headers=headers)


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    with stream:
        while chunk := stream.read(CHUNK_BYTES):
            yield chunk
