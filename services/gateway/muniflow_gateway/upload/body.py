"""A request's body as chunks, counted as they arrive, with a limit to each wait."""

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import ClientDisconnect, Request

from muniflow_gateway.auth.quotas import Allowance
from muniflow_gateway.problems import too_large
from muniflow_gateway.upload.pace import BodyPace

DRAIN_BYTES = 16 * 2**20
DRAIN_S = 5.0


async def chunks(
    request: Request, *, limit_bytes: int, pace: BodyPace, allowance: Allowance, limit_name: str = ""
) -> AsyncIterator[bytes]:
    """The body, chunk by chunk; `limit_name` is the setting of the limit, where there is one.

    Raises:
        Problem: 408, 413 or 429.
        ClientDisconnect: the client went away.
    """
    named = f" ({limit_name})" if limit_name else ""
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told) > limit_bytes:
        raise too_large(f"the body has {told} bytes; the limit is {limit_bytes}{named}")
    stream = request.stream().__aiter__()
    size_bytes = 0
    while True:
        try:
            chunk = await pace.next(anext(stream))
        except StopAsyncIteration:
            return
        size_bytes += len(chunk)
        pace.came(len(chunk))
        if size_bytes > limit_bytes:
            raise too_large(f"the body has more than {limit_bytes} bytes, the limit{named}")
        if chunk:
            allowance.take_bytes(len(chunk))
            yield chunk


async def whole(request: Request, *, limit_bytes: int, pace: BodyPace, allowance: Allowance) -> bytes:
    """The body of a small request.

    Raises:
        Problem: 408, 413 or 429.
    """
    return b"".join([c async for c in chunks(request, limit_bytes=limit_bytes, pace=pace, allowance=allowance)])


async def drain(request: Request) -> bool:
    """Read on for a moment before a refusal: a client that is still sending would never see the answer.

    Returns whether that was the whole body; otherwise the connection has to be closed.
    """
    if "expect" in request.headers:  # the client waits for 100 Continue, which it does not get
        return False
    left = DRAIN_BYTES
    try:
        async with asyncio.timeout(DRAIN_S):
            async for chunk in request.stream():
                left -= len(chunk)
                if left < 0:
                    return False
    except TimeoutError:
        return False
    except (ClientDisconnect, RuntimeError):  # RuntimeError: it was read to its end already
        return True
    return True
