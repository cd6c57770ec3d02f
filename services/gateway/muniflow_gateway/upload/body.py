"""A request's body as chunks, counted as they arrive, with a limit to each wait."""

import asyncio
import time
from collections.abc import AsyncIterator
from http import HTTPStatus

from starlette.requests import ClientDisconnect, Request

from muniflow_gateway.auth.quotas import Allowance
from muniflow_gateway.problems import Problem, too_large

LEAST_BYTES_PER_S = 1024
"""Of a body, in the mean over each time of the length of the longest silence."""
DRAIN_BYTES = 16 * 2**20
DRAIN_S = 5.0


async def chunks(
    request: Request, *, limit_bytes: int, silence_s: float, allowance: Allowance, limit_name: str = ""
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
    size_bytes = came_bytes = 0
    began_s = time.monotonic()
    while True:
        if (passed_s := time.monotonic() - began_s) > silence_s:
            if came_bytes < LEAST_BYTES_PER_S * passed_s:
                raise _too_slow(f"only {came_bytes} bytes of the body came in {passed_s:.0f} s")
            came_bytes, began_s = 0, time.monotonic()
        try:
            async with asyncio.timeout(silence_s):
                chunk = await anext(stream)
        except TimeoutError:
            raise _too_slow(f"nothing came for {silence_s:g} s in the middle of the body") from None
        except StopAsyncIteration:
            return
        size_bytes += len(chunk)
        came_bytes += len(chunk)
        if size_bytes > limit_bytes:
            raise too_large(f"the body has more than {limit_bytes} bytes, the limit{named}")
        if chunk:
            allowance.take_bytes(len(chunk))
            yield chunk


def _too_slow(text: str) -> Problem:
    return Problem(HTTPStatus.REQUEST_TIMEOUT, text, headers={"Connection": "close"})


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
