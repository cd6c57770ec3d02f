"""A timer on the event loop that shows other threads whether the loop runs."""

from collections.abc import Callable

from muniflow.runtime.clock import SYSTEM_CLOCK, Clock
from muniflow.runtime.loop import Loop

BEAT_S = 1.0
LIMIT_S = 30.0
"""A loop that did not run for longer counts as hanging."""


class Heartbeat:
    """Beats once a second while its loop runs."""

    def __init__(
        self,
        loop: Loop,
        limit_s: float = LIMIT_S,
        on_beat: Callable[[], None] = lambda: None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Beat on `loop` from `start` on, and call `on_beat` with each; alive for `limit_s` after each beat."""
        self._loop = loop
        self._limit_s = limit_s
        self._on_beat = on_beat
        self._clock = clock
        self._beat_s = clock.monotonic_s()

    def start(self) -> None:
        """Beat now, and from now on."""
        self._beat_s = self._clock.monotonic_s()
        self._on_beat()
        self._loop.call_later(BEAT_S, self.start)

    def alive(self) -> bool:
        """Whether the loop runs; called from any thread."""
        return self._clock.monotonic_s() - self._beat_s < self._limit_s
