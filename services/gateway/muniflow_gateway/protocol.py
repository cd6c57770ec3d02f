"""HTTP/1.1 over uvicorn and h11, with an end to every wait and to every connection that nobody uses.

uvicorn itself waits for ever for a head, for a reader, and for the rest of a body after its answer.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

READ_BYTES = 64 * 1024
LINGER_S, LINGER_BYTES = 5.0, 2**20
"""After its answer, so much of a body that was not read is still taken: who is sending would not see the answer."""
COUNTED_CHUNKS, LEAST_CHUNK_BYTES = 1000, 32
"""Chunks of a body that are shorter in the mean, over so many, are refused: each costs as much as a long one."""


@dataclass(frozen=True)
class ConnectionLimits:
    """What a client may take."""

    head_timeout_s: float
    """From its first byte, or from connecting, to the end of a request's head."""
    send_timeout_s: float
    """Longest time in which a client reads nothing of its answer."""
    max_connections: int
    """Open at a time; beyond it, the one that waits longest for a request is closed."""


@dataclass(eq=False)
class Connections:
    """All connections of a process."""

    limits: ConnectionLimits
    count: int = 0
    _waiting: "OrderedDict[BoundedProtocol, None]" = field(default_factory=OrderedDict)
    """Those without a request, the longest waiting first."""

    def opened(self, one: "BoundedProtocol") -> None:
        """Count one more; make room where there are too many."""
        self.count += 1
        self.waits(one)
        if self.count > self.limits.max_connections:
            oldest, _ = self._waiting.popitem(last=False)
            oldest.transport.abort()

    def closed(self, one: "BoundedProtocol") -> None:
        """Count one less."""
        self.count -= 1
        self._waiting.pop(one, None)

    def waits(self, one: "BoundedProtocol") -> None:
        """It has no request now."""
        self._waiting.setdefault(one)

    def works(self, one: "BoundedProtocol") -> None:
        """It has a request."""
        self._waiting.pop(one, None)


class _Connection(h11.Connection):
    """h11, which refuses bodies in tiny chunks."""

    _chunks = 0
    _bytes = 0

    def next_event(self) -> Any:
        """Return the next event.

        Raises:
            h11.RemoteProtocolError: the client does not keep to HTTP, or its chunks are too small.
        """
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._chunks = self._bytes = 0
        elif isinstance(event, h11.Data):
            self._chunks += 1
            self._bytes += len(event.data)
            if self._chunks > COUNTED_CHUNKS and self._bytes < LEAST_CHUNK_BYTES * self._chunks:
                raise h11.RemoteProtocolError("the chunks of the body are too small")
        return event


class BoundedProtocol(H11Protocol):
    """One connection. Its reads are small: what a hundred uploads hold in memory is a hundred times one read."""

    def __init__(self, *, connections: Connections, **given: Any) -> None:
        """Be one of these connections; the rest is uvicorn's."""
        super().__init__(**given)
        self.conn = _Connection(h11.SERVER, self.config.h11_max_incomplete_event_size or 2**16)
        self._connections = connections
        self._limits = connections.limits
        self._head_timer: asyncio.TimerHandle | None = None
        self._send_timer: asyncio.TimerHandle | None = None
        self._linger_timer: asyncio.TimerHandle | None = None
        self._lingered_bytes = 0
        self._answered: object = None
        """The request that was answered last."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head."""
        if hasattr(transport, "max_size"):
            transport.max_size = READ_BYTES  # asyncio's own 256 KiB are copied several times on their way
        super().connection_made(transport)
        self._connections.opened(self)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """End every wait."""
        for timer in (self._head_timer, self._send_timer, self._linger_timer):
            if timer is not None:
                timer.cancel()
        self._connections.closed(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes: of a head, of a body, or of a body that nobody reads any more."""
        if self._linger_timer is not None:
            self._lingered_bytes += len(data)
            if self._lingered_bytes > LINGER_BYTES:
                self.transport.abort()
                return
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self.conn.their_state is not h11.SEND_BODY or self.cycle is not self._answered:
            self._stop_lingering()
        if self.conn.their_state is h11.IDLE:
            self._expect_head()
        else:
            self._head_came()

    def on_response_complete(self) -> None:
        """Wait for the next head; but not long for the rest of a body."""
        self._answered = self.cycle
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if self.conn.their_state is h11.SEND_BODY and self.cycle is self._answered:
            self._unset_keepalive_if_required()
            self._linger_timer = self.loop.call_later(LINGER_S, self.transport.abort)
        elif self.conn.their_state is h11.IDLE:
            self._connections.waits(self)

    def _stop_lingering(self) -> None:
        if self._linger_timer is not None:
            self._linger_timer.cancel()
            self._linger_timer, self._lingered_bytes = None, 0
            self._connections.waits(self)

    def pause_writing(self) -> None:
        """Wait for a reader, but not for ever."""
        super().pause_writing()
        self._send_timer = self.loop.call_later(self._limits.send_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        """It reads."""
        super().resume_writing()
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None

    def _expect_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self._limits.head_timeout_s, self.transport.abort)

    def _head_came(self) -> None:
        self._connections.works(self)
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
