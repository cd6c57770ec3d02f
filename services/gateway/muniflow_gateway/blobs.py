"""Blobs of a store as HTTP answers: fixed content types, never sniffed, never run."""

from collections.abc import Iterator
from typing import BinaryIO

from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from muniflow.errors import NotFound
from muniflow.images.sniff import format_of
from muniflow.store.types import Store

CHUNK_BYTES = 256 * 1024
BY_EXTENSION = {"jpg": "image/jpeg", "jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
BY_FORMAT = {"jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp", "tiff": "image/tiff"}
JSON = "application/json"
BYTES = "application/octet-stream"


async def send_blob(store: Store, key: str, content_type: str | None = None) -> StreamingResponse:
    """A blob as it is.

    Args:
        store: where it is.
        key: its key.
        content_type: what it is; left out, the first bytes say which image it is. Anything else is for saving only.

    Raises:
        NotFound: it is not there.
        Unavailable: the store is away.
    """
    size_bytes = await run_in_threadpool(store.size, key)
    if size_bytes is None:
        raise NotFound(f"{key} is not there")
    stream = await run_in_threadpool(store.open, key)
    head = await run_in_threadpool(stream.read, 16)
    kind = content_type or BY_FORMAT.get(format_of(memoryview(head)) or "", BYTES)
    headers = {"Content-Length": str(size_bytes), "Cache-Control": "private, max-age=60"}
    if kind == BYTES:
        headers["Content-Disposition"] = "attachment"
    return StreamingResponse(_rest(head, stream), media_type=kind, headers=headers)


def content_type_of(name: str) -> str | None:
    """What an output is by its name, which muniflow gave it."""
    extension = name.rpartition(".")[2].lower()
    return JSON if extension == "json" else BY_EXTENSION.get(extension)


def read_chunks(store: Store, key: str) -> Iterator[bytes]:
    """A blob in chunks."""
    yield from _rest(b"", store.open(key))


def _rest(head: bytes, stream: BinaryIO) -> Iterator[bytes]:
    with stream:
        if head:
            yield head
        while chunk := stream.read(CHUNK_BYTES):
            yield chunk
