"""Connections of one request each, on a thread of their own, which no client can hold up.

Every wait has an end: for a request's head, for the reader of its answer, for what a client still sends after that. And
there is always room for one more: of too many connections the oldest is closed.
"""

import asyncio
import logging
import resource
import socket
import struct
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

from muniflow.errors import Unavailable
from muniflow.runtime.startable import Startable

HEAD_END = b"\r\n\r\n"
LINGER_S, LINGER_BYTES = 2.0, 2**20
"""After its answer, so much is still read of what a client sends: otherwise it would not see the answer."""
DESCRIPTORS_SHARE = 4
QUEUE, ACCEPTED_AT_ONCE = 1024, 32
"""Connections that the kernel keeps for us, and how many of them are taken before those that are open are looked at:
who has just come is not closed for the next before a word was read."""

logger = logging.getLogger(__name__)

Render = Callable[[bytes], bytes]
"""The answer to the head of a request, both as they are sent."""


@dataclass(frozen=True)
class ListenerLimits:
    """What clients may take."""

    head_timeout_s: float = 5.0
    """From connecting to the end of a request's head."""
    send_timeout_s: float = 10.0
    """Longest time in which a client reads nothing of its answer."""
    max_head_bytes: int = 2**16
    """A longer head is cut there."""
    max_connections: int = 2048
    """Open at a time; beyond it the oldest is closed, and first of all those whose answer is not being made. Never more
    than a quarter of the file descriptors that the process may have."""
    max_threads: int = 32
    """Answers that are made at a time; others wait for their turn."""


class Listener(Startable):
    """Listens from the moment it is made, and answers after `start`."""

    def __init__(
        self, host: str, port: int, render: Render, at_once: Callable[[bytes], bool], limits: ListenerLimits
    ) -> None:
        """Take the port; 0 takes a free one.

        Args:
            host: an address; empty for all.
            port: where.
            render: makes an answer, in a thread.
            at_once: whether the answer to a head needs no thread.
            limits: what clients may take.

        Raises:
            Unavailable: the port is taken.
        """
        self.limits = limits
        self._most = min(limits.max_connections, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // DESCRIPTORS_SHARE)
        self._render = render
        self._at_once = at_once
        try:
            self._socket = socket.create_server((host, port), backlog=QUEUE)
        except OSError as error:
            raise Unavailable(f"the address {host}:{port}", error.strerror or str(error)) from None
        self.port: int = self._socket.getsockname()[1]
        self._open: OrderedDict[_Connection, None] = OrderedDict()
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._threads = asyncio.Semaphore(limits.max_threads)
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Stop and close the port."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()
        self._socket.close()
        if not self._loop.is_closed():
            self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        server = await self._loop.create_server(
            lambda: _Connection(self, self._loop), sock=self._socket, backlog=ACCEPTED_AT_ONCE
        )
        self._socket.listen(QUEUE)  # asyncio has made it as short as its bites
        await self._stopping.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        for connection in list(self._open):
            connection.abort()
        await asyncio.sleep(0)  # sockets are closed in the turn after

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._open)

    # On the loop

    def opened(self, connection: "_Connection") -> None:
        """Make room where there are too many."""
        self._open[connection] = None
        if len(self._open) > self._most:
            oldest = next((one for one in self._open if not one.working), next(iter(self._open)))
            self.closed(oldest)
            oldest.abort()

    def closed(self, connection: "_Connection") -> None:
        """Forget it."""
        self._open.pop(connection, None)

    async def answer(self, connection: "_Connection", head: bytes) -> None:
        """Make the answer, and send it."""
        if self._at_once(head):
            connection.send(self._render(head))
            return
        async with self._threads:
            if not connection.gone:
                connection.send(await self._in_thread(head))

    def _in_thread(self, head: bytes) -> asyncio.Future[bytes]:
        """A thread that does not keep the process from its end, whatever it waits for."""
        answer: asyncio.Future[bytes] = self._loop.create_future()

        def tell(text: bytes) -> None:
            if not answer.done():
                answer.set_result(text)

        def make() -> None:
            try:
                text = self._render(head)
            except Exception:
                logger.exception("cannot answer")
                text = b""
            with suppress(RuntimeError):  # stopped meanwhile
                self._loop.call_soon_threadsafe(tell, text)

        threading.Thread(target=make, name="http-answer", daemon=True).start()
        return answer


def cut(transport: asyncio.Transport) -> None:
    """End a connection now, with all that the kernel keeps for a client that does not read."""
    with suppress(OSError):
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class _Connection(asyncio.Protocol):
    """One request and its answer."""

    def __init__(self, listener: Listener, loop: asyncio.AbstractEventLoop) -> None:
        self._listener = listener
        self._loop = loop
        self._head = bytearray()
        self._task: asyncio.Task[None] | None = None
        self._answered = self._ended = False
        self._unsent_bytes = self._dropped_bytes = 0

    @property
    def working(self) -> bool:
        """Whether its answer is being made."""
        return self._task is not None and not self._answered

    @property
    def gone(self) -> bool:
        """Whether nobody waits for an answer."""
        return self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a head."""
        self._transport = cast("asyncio.Transport", transport)
        self._timer = self._loop.call_later(self._listener.limits.head_timeout_s, self.abort)
        self._listener.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """End every wait."""
        del exc
        self._timer.cancel()
        self._listener.closed(self)

    def data_received(self, data: bytes) -> None:
        """Take a head; drop what comes after it."""
        if self._task is not None:
            self._dropped_bytes += len(data)
            if self._dropped_bytes > LINGER_BYTES:
                self.abort()
            return
        self._head += data
        if HEAD_END in self._head or len(self._head) > self._listener.limits.max_head_bytes:
            self._begin()

    def eof_received(self) -> bool:
        """A client may end its side and wait for the answer."""
        self._ended = True
        if self._task is None and self._head:
            self._begin()
        return self.working

    def abort(self) -> None:
        """End it now."""
        cut(self._transport)

    def send(self, answer: bytes) -> None:
        """Answer; the end follows once it is read, and no later than the limits say."""
        self._answered = True
        if self.gone:
            return
        self._transport.write(answer)
        if self._ended:
            self._transport.close()
        else:
            self._transport.write_eof()
        self._expect_reading()

    def _begin(self) -> None:
        self._timer.cancel()
        self._task = self._loop.create_task(self._listener.answer(self, bytes(self._head)))
        self._head.clear()

    def _expect_reading(self) -> None:
        self._unsent_bytes = self._transport.get_write_buffer_size()
        wait_s = self._listener.limits.send_timeout_s if self._unsent_bytes else LINGER_S
        self._timer = self._loop.call_later(wait_s, self._check_reading)

    def _check_reading(self) -> None:
        if 0 < self._transport.get_write_buffer_size() < self._unsent_bytes:
            self._expect_reading()
        else:
            self.abort()
