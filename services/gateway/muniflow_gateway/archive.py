"""All outputs of a batch as one ZIP, made while it is sent: nothing is kept, whatever its size."""

import re
from collections.abc import AsyncIterator
from contextlib import aclosing

from zipstream import ZIP_STORED, ZipStream  # type: ignore[import-untyped]

from muniflow.store.types import Store
from muniflow_gateway.blobs import read_chunks
from muniflow_gateway.streaming import in_threads

_NOT_IN_NAMES = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")
"""In a ZIP that is unpacked on Windows, a backslash would be another folder."""


def member_name(key: str, prefix: str) -> str:
    r"""The name of a blob in a ZIP: its key below `prefix`, with `_` for line ends and `\`."""
    return _NOT_IN_NAMES.sub("_", key.removeprefix(prefix))


async def zip_chunks(store: Store, keys: AsyncIterator[str], prefix: str) -> AsyncIterator[bytes]:
    """A ZIP of blobs, named by their keys below `prefix`.

    Stored, not compressed: images are compressed already. A blob that vanishes ends the stream in its middle, so that
    the client sees a broken download and not a complete one without it.
    """
    archive = ZipStream(compress_type=ZIP_STORED)
    async for key in keys:
        archive.add(read_chunks(store, key), member_name(key, prefix))
        async with aclosing(in_threads(archive.all_files())) as chunks:
            async for chunk in chunks:
                yield chunk
    async for chunk in in_threads(archive.finalize()):
        yield chunk
