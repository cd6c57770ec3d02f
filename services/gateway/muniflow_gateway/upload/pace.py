"""How fast a body has to come."""

import asyncio
import time
from collections.abc import Awaitable
from http import HTTPStatus
from typing import Self, TypeVar

from muniflow.runtime.settings import variable
from muniflow_gateway.problems import Problem
from muniflow_gateway.settings import GatewaySettings

Chunk = TypeVar("Chunk")


class BodyPace:
    """Ends the wait for a body that stops, and for one that creeps."""

    def __init__(self, silence_s: float, bytes_per_s: int) -> None:
        """Wait no longer than `silence_s` for more; over each such time `bytes_per_s` must come in the mean."""
        self._silence_s = silence_s
        self._bytes_per_s = bytes_per_s
        self._came_bytes = 0
        self._waited_s = 0.0
        """For these bytes: what we do with them takes its own time."""

    @classmethod
    def of(cls, settings: GatewaySettings) -> Self:
        """As the settings say."""
        return cls(settings.body_timeout_s, settings.body_bytes_per_s)

    async def next(self, coming: Awaitable[Chunk]) -> Chunk:
        """Wait for more.

        Raises:
            Problem: 408.
        """
        began_s = time.monotonic()
        try:
            async with asyncio.timeout(self._silence_s):
                return await coming
        except TimeoutError:
            raise _too_slow(f"nothing came for {self._silence_s:g} s in the middle of the body") from None
        finally:
            self._waited_s += time.monotonic() - began_s

    def came(self, count: int) -> None:
        """Count the bytes that came.

        Raises:
            Problem: 408.
        """
        self._came_bytes += count
        if self._waited_s <= self._silence_s:
            return
        if self._came_bytes < self._bytes_per_s * self._waited_s:
            came = f"only {self._came_bytes} bytes of the body came in {self._waited_s:.0f} s"
            least = f"at least {self._bytes_per_s} a second are asked for ({variable('body_bytes_per_s')})"
            raise _too_slow(f"{came}; {least}")
        self._came_bytes, self._waited_s = 0, 0.0


def _too_slow(text: str) -> Problem:
    return Problem(HTTPStatus.REQUEST_TIMEOUT, text, headers={"Connection": "close"})
