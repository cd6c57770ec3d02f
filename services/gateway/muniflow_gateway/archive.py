"""All outputs of a batch as one ZIP, made while it is sent: nothing is kept, whatever its size."""

from collections.abc import AsyncIterator

from starlette.concurrency import iterate_in_threadpool
from zipstream import ZIP_STORED, ZipStream  # type: ignore[import-untyped]

from muniflow.store.types import Store
from muniflow_gateway.blobs import read_chunks


async def zip_chunks(store: Store, keys: AsyncIterator[str], prefix: str) -> AsyncIterator[bytes]:
    """A ZIP of blobs, named by their keys below `prefix`.

    Stored, not compressed: images are compressed already. A blob that vanishes ends the stream in its middle, so that
    the client sees a broken download and not a complete one without it.
    """
    archive = ZipStream(compress_type=ZIP_STORED)
    async for key in keys:
        archive.add(read_chunks(store, key), key.removeprefix(prefix))
        async for chunk in iterate_in_threadpool(archive.all_files()):
            yield chunk
    async for chunk in iterate_in_threadpool(archive.finalize()):
        yield chunk
