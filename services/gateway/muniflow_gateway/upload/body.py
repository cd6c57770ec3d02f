"""A request's body as chunks, counted while they come, and never waited for without end."""

import asyncio
from collections.abc import AsyncIterator
from http import HTTPStatus

from starlette.requests import ClientDisconnect, Request

from muniflow_gateway.auth.quotas import Allowance
from muniflow_gateway.problems import Problem, too_large

DRAIN_BYTES = 16 * 2**20
DRAIN_S = 5.0


async def chunks(request: Request, *, limit_bytes: int, silence_s: float, allowance: Allowance) -> AsyncIterator[bytes]:
    """The body, chunk by chunk.

    Raises:
        Problem: 408, 413 or 429.
        ClientDisconnect: the client went away.
    """
    told = request.headers.get("content-length", "")
    if told.isdecimal() and int(told) > limit_bytes:
        raise too_large(f"the body has {told} bytes; the limit is {limit_bytes}")
    stream = request.stream().__aiter__()
    size_bytes = 0
    while True:
        try:
            async with asyncio.timeout(silence_s):
                chunk = await anext(stream)
        except TimeoutError:
            text = f"nothing came for {silence_s:g} s in the middle of the body"
            raise Problem(HTTPStatus.REQUEST_TIMEOUT, text, headers={"Connection": "close"}) from None
        except StopAsyncIteration:
            return
        size_bytes += len(chunk)
        if size_bytes > limit_bytes:
            raise too_large(f"the body has more than {limit_bytes} bytes, the limit")
        if chunk:
            allowance.take_bytes(len(chunk))
            yield chunk


async def whole(request: Request, *, limit_bytes: int, silence_s: float, allowance: Allowance) -> bytes:
    """The body of a small request.

    Raises:
        Problem: 408, 413 or 429.
    """
    return b"".join(
        [c async for c in chunks(request, limit_bytes=limit_bytes, silence_s=silence_s, allowance=allowance)]
    )


async def drain(request: Request) -> bool:
    """Read on for a moment before a refusal: a client that is still sending would never see the answer.

    Returns whether that was the whole body; otherwise the connection has to be closed.
    """
    if "expect" in request.headers:  # it waits for leave to send, which it does not get
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
