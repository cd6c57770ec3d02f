"""Notices a broker that says nothing any more: a frozen process, a black-holed connection."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from muniflow.runtime.loop import Loop

BEAT_S = 1.0
GRACE_BEATS = 2


class WatchedConnection(Protocol):
    """A connection, as far as it matters here."""

    @property
    def received_bytes(self) -> int:
        """So far."""
        ...

    @property
    def heartbeat_s(self) -> float:
        """As agreed with the broker; 0: none."""
        ...


class SilenceWatch:
    """Looks once a second whether connections still receive anything.

    A broker sends a heartbeat at least every half `heartbeat_s`, so two are missed after `heartbeat_s`. pika itself
    looks every `heartbeat_s + 5` seconds and needs a whole such interval without a byte: up to twice as long.
    """

    def __init__(self, loop: Loop, connections: Sequence[WatchedConnection], on_silence: Callable[[], None]) -> None:
        """Watch open connections from `start` on; call `on_silence` once, when one has been silent for too long."""
        self._loop = loop
        self._connections = connections
        self._on_silence = on_silence
        self._received = [0] * len(connections)
        self._beats = [0] * len(connections)
        self._timer: Any = None

    def start(self) -> None:
        """Begin to look."""
        self._timer = self._loop.call_later(BEAT_S, self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._loop.remove_timeout(self._timer)
            self._timer = None

    def _look(self) -> None:
        # Beats are counted, not seconds: a process that did not run itself for a minute has heard nothing either.
        self._timer = None
        for place, connection in enumerate(self._connections):
            received, heartbeat_s = connection.received_bytes, connection.heartbeat_s
            self._beats[place] = self._beats[place] + 1 if received == self._received[place] else 0
            self._received[place] = received
            if heartbeat_s and self._beats[place] >= heartbeat_s / BEAT_S + GRACE_BEATS:
                self._on_silence()
                return
        self.start()
