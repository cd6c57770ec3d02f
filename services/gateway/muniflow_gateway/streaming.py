"""Answers that are made while they are sent."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from http import HTTPStatus
from typing import TypeAlias

from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

Source: TypeAlias = Iterator[bytes] | Iterator[str] | AsyncIterator[bytes]
"""A generator."""


class StreamedAnswer(StreamingResponse):
    """Closes its source at its end, also when the client goes away: no file waits for the garbage collector."""

    def __init__(
        self,
        source: Source,
        *,
        media_type: str,
        headers: Mapping[str, str] | None = None,
        status_code: int = HTTPStatus.OK,
    ) -> None:
        """Send what `source` makes."""
        super().__init__(source, status_code, media_type=media_type, headers=headers)
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await _close(self._source)


async def _close(source: Source) -> None:
    if (aclose := getattr(source, "aclose", None)) is not None:
        await aclose()
    elif (close := getattr(source, "close", None)) is not None:
        await run_in_threadpool(close)


async def in_threads(source: Iterator[bytes]) -> AsyncGenerator[bytes, None]:
    """What a generator makes, each piece in a thread; it is closed at the end."""
    try:
        async for piece in iterate_in_threadpool(source):
            yield piece
    finally:
        await _close(source)
