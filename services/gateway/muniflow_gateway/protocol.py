"""HTTP/1.1 over uvicorn and h11, with an end to every wait and to every connection that nobody uses.

uvicorn itself waits for ever for a head, for a reader, and for the rest of a body after its answer.
"""

import asyncio
import socket
from collections import Counter, OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from muniflow.runtime.listener import cut
from muniflow_gateway.auth.addresses import one_client

HEAD_BYTES, READ_BYTES = 8 * 1024, 64 * 1024
"""One read: of whom we do not know, and of a body that is wanted."""
SEND_BUFFER_BYTES = 256 * 1024
"""What the kernel keeps of an answer. By itself it goes up to megabytes for each client that does not read."""
LINGER_S, LINGER_BYTES, MAX_LINGERING = 5.0, 2**20, 64
"""After its answer, so much of a body that was not read is still taken: who is sending would not see the answer. Of so
many clients at a time: where there are more, few are in good faith."""
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
    """Open at a time; beyond it, of those without a key's request the one that is silent longest is closed."""
    max_per_address: int
    """Of these, from one address that is no trusted proxy; 0: as many as of all."""


@dataclass(eq=False)
class Connections:
    """All connections of a process."""

    limits: ConnectionLimits
    is_proxy: Callable[[str], bool] = field(default=lambda _address: False)
    count: int = 0
    _strangers: "OrderedDict[BoundedProtocol, None]" = field(default_factory=OrderedDict)
    """Those that serve no key now, whatever they do; the longest silent first."""
    _lingering: "OrderedDict[BoundedProtocol, None]" = field(default_factory=OrderedDict)
    _by_address: Counter[str] = field(default_factory=Counter)

    def opened(self, one: "BoundedProtocol") -> None:
        """Count one more; make room where there are too many."""
        self.count += 1
        self._by_address[one.address] += 1
        self.wait(one)
        most = self.limits.max_per_address
        if most and self._by_address[one.address] > most and not self.is_proxy(one.address):
            self._cut(next(other for other in self._strangers if other.address == one.address))
        elif self.count > self.limits.max_connections:
            self._cut(next(iter(self._strangers)))

    def linger(self, one: "BoundedProtocol") -> None:
        """It still sends a body that nobody reads."""
        self._lingering[one] = None
        if len(self._lingering) > MAX_LINGERING:
            oldest, _ = self._lingering.popitem(last=False)
            oldest.cut()

    def closed(self, one: "BoundedProtocol") -> None:
        """Count one less."""
        self.count -= 1
        self._by_address[one.address] -= 1
        if not self._by_address[one.address]:
            del self._by_address[one.address]
        self._strangers.pop(one, None)
        self._lingering.pop(one, None)

    def wait(self, one: "BoundedProtocol") -> None:
        """It serves nobody now, or nobody that is known."""
        self._lingering.pop(one, None)
        self._strangers[one] = None
        self._strangers.move_to_end(one)

    def serve(self, one: "BoundedProtocol") -> None:
        """It serves a request whose key is known: nobody takes its place."""
        self._strangers.pop(one, None)

    def _cut(self, one: "BoundedProtocol") -> None:
        self._strangers.pop(one)
        one.cut()


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
        self.app_state = {**self.app_state, "connection": self}  # each request has it as its state
        self.address = ""
        """What counts as one client."""
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
        # As long as one byte is not read, we wait: nothing is forgotten in a buffer, and little lies there.
        transport.set_write_buffer_limits(0)
        self._limit_kernel(transport.get_extra_info("socket"))
        super().connection_made(transport)
        self._read_at_most(HEAD_BYTES)
        self.address = one_client(self.client[0]) if self.client else ""
        self._connections.opened(self)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """End every wait."""
        for timer in (self._head_timer, self._send_timer, self._linger_timer):
            if timer is not None:
                timer.cancel()
        self._connections.closed(self)
        super().connection_lost(exc)

    def _limit_kernel(self, connection: socket.socket) -> None:
        """It keeps little, and not for long, also of a connection that is closed already."""
        with suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            connection.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1000 * self._limits.send_timeout_s)
            )

    def trust(self) -> None:
        """The key of its request is known."""
        self._connections.serve(self)
        self._read_at_most(READ_BYTES)

    def _read_at_most(self, count: int) -> None:
        """Of asyncio's own 256 KiB a hundred clients are 25 MiB, copied several times on their way."""
        if hasattr(self.transport, "max_size"):
            self.transport.max_size = count

    def cut(self) -> None:
        """End it now."""
        cut(self.transport)

    def data_received(self, data: bytes) -> None:
        """Take bytes: of a head, of a body, or of a body that nobody reads any more."""
        if self._linger_timer is not None:
            self._lingered_bytes += len(data)
            if self._lingered_bytes > LINGER_BYTES:
                self.cut()
                return
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self.cycle is not None and self.cycle.body:
            self.flow.pause_reading()  # until somebody wants it: uvicorn alone would take 64 KiB more
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
        self._connections.wait(self)
        if self.transport.is_closing():
            return
        if self.conn.their_state is h11.SEND_BODY and self.cycle is self._answered:
            self._unset_keepalive_if_required()
            self._linger_timer = self.loop.call_later(LINGER_S, self.cut)
            self._read_at_most(READ_BYTES)
            self._connections.linger(self)
        else:
            self._read_at_most(HEAD_BYTES)

    def _stop_lingering(self) -> None:
        if self._linger_timer is not None:
            self._linger_timer.cancel()
            self._linger_timer, self._lingered_bytes = None, 0
            self._read_at_most(HEAD_BYTES)
            self._connections.wait(self)

    def pause_writing(self) -> None:
        """Wait for a reader, but not for ever."""
        super().pause_writing()
        self._send_timer = self.loop.call_later(self._limits.send_timeout_s, self.cut)

    def resume_writing(self) -> None:
        """It reads."""
        super().resume_writing()
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None

    def _expect_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self._limits.head_timeout_s, self.cut)

    def _head_came(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
