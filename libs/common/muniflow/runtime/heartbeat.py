"""Whether an event loop turns: a timer on the loop that other threads look at."""

import time
from collections.abc import Callable

from muniflow.runtime.loop import Loop

BEAT_S = 1.0
LIMIT_S = 30.0
"""A loop that has not turned for longer is taken to hang."""


class Heartbeat:
    """Beats once a second while its loop turns."""

    def __init__(self, loop: Loop, limit_s: float = LIMIT_S, on_beat: Callable[[], None] = lambda: None) -> None:
        """Beat on `loop` from `start` on, and call `on_beat` with each; alive for `limit_s` after each beat."""
        self._loop = loop
        self._limit_s = limit_s
        self._on_beat = on_beat
        self._beat_s = time.monotonic()

    def start(self) -> None:
        """Beat now, and from now on."""
        self._beat_s = time.monotonic()
        self._on_beat()
        self._loop.call_later(BEAT_S, self.start)

    def alive(self) -> bool:
        """Whether the loop turns; called from any thread."""
        return time.monotonic() - self._beat_s < self._limit_s
