"""From an asyncio task that receives bytes to a thread that writes them, with little in between."""

import asyncio
import queue
from collections.abc import Iterator
from concurrent.futures import Executor

from muniflow.store.types import Store

AHEAD_BYTES = 64 * 1024
"""Received and not written yet, of one upload; then the client has to wait."""


class Aborted(Exception):
    """The upload is not to be stored; the store forgets what it has of it."""


class Writer:
    """Writes one blob from chunks as they come, whole or not at all."""

    def __init__(self, store: Store, key: str, executor: Executor, *, durable: bool) -> None:
        """Begin to write `key` in a thread of `executor`."""
        self._loop = asyncio.get_running_loop()
        self._chunks: queue.SimpleQueue[bytes | Exception | None] = queue.SimpleQueue()
        self._ahead_bytes = 0
        self._room = asyncio.Event()
        self._room.set()
        self._done = self._loop.run_in_executor(executor, self._write, store, key, durable)

    async def feed(self, chunk: bytes) -> None:
        """Hand over a chunk; waits while the thread is behind.

        Raises:
            MuniflowError: the store failed.
        """
        self._chunks.put(chunk)
        self._ahead_bytes += len(chunk)
        if self._ahead_bytes <= AHEAD_BYTES:
            return
        self._room.clear()
        room = asyncio.ensure_future(self._room.wait())
        try:
            await asyncio.wait((room, self._done), return_when=asyncio.FIRST_COMPLETED)
        finally:
            room.cancel()
        if self._done.done():
            self._done.result()

    async def finish(self) -> int:
        """All is handed over; returns the size in bytes once it is stored.

        Raises:
            MuniflowError: the store failed.
        """
        self._chunks.put(None)
        return await self._done

    async def abort(self) -> None:
        """Store nothing; waits until nothing is left of it."""
        self._chunks.put(Aborted())
        await asyncio.gather(self._done, return_exceptions=True)

    def _write(self, store: Store, key: str, durable: bool) -> int:
        return store.write(key, self._taken(), durable=durable)

    def _taken(self) -> Iterator[bytes]:
        while (chunk := self._chunks.get()) is not None:
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk
            self._loop.call_soon_threadsafe(self._written, len(chunk))

    def _written(self, size_bytes: int) -> None:
        self._ahead_bytes -= size_bytes
        if self._ahead_bytes <= AHEAD_BYTES // 2:
            self._room.set()
