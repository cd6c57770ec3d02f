"""Many slow clients at once, as a program: `python -m tests.security.crowd URL --count 1500 --seconds 90 …`.

Every connection that is ended is opened again, so that there are always as many. It prints what became of them.
"""

import argparse
import asyncio
import socket
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

STEP_S = 1.0
"""Between two bytes of those that creep."""
AT_ONCE, AT_ONCE_S = 50, 0.25
REOPEN_S = 8.0
"""Before a connection that was ended is opened again."""
TCP_CLOSE = 7
"""The state of Linux's `tcp_info`."""
CHUNK = b"0" * 65536

Client = Callable[["Crowd", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Crowd:
    """Clients of one address."""

    host: str
    port: int
    key: str
    path: str
    """Of an answer that is larger than all buffers."""
    opened: Counter[str] = field(default_factory=Counter)

    async def client(self, kind: str) -> None:
        """One connection after the other, for ever."""
        while True:
            try:
                reader, writer = await self._connect(kind)
            except OSError:
                pass
            else:
                self.opened[kind] += 1
                with suppress(ConnectionError):
                    await KINDS[kind](self, reader, writer)
                writer.transport.abort()
            await asyncio.sleep(REOPEN_S)

    async def _connect(self, kind: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if kind == "deaf":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, (self.host, self.port))
        return await asyncio.open_connection(sock=connection, limit=4096)

    def head(self, method: str, path: str, *lines: str) -> bytes:
        """A request's head."""
        return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *lines, "", ""]).encode()


async def _ended(reader: asyncio.StreamReader) -> None:
    while await reader.read(4096):
        pass


async def _creep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One byte after the other, until the other end closes."""
    ended = asyncio.ensure_future(_ended(reader))
    try:
        while not ended.done():
            writer.write(b"a")
            await writer.drain()
            await asyncio.wait([ended], timeout=STEP_S)
    finally:
        ended.cancel()


async def half_head(_crowd: Crowd, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Half of a head, then nothing."""
    writer.write(b"GET / HTTP/1.1\r\nX-Half: ")
    await _ended(reader)


async def slow_head(_crowd: Crowd, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A head, byte after byte."""
    writer.write(b"GET / HTTP/1.1\r\nX-Slow: ")
    await _creep(reader, writer)


async def slow_body(crowd: Crowd, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An upload with a key, byte after byte."""
    kind = "Content-Type: multipart/form-data; boundary=b"
    writer.write(crowd.head("POST", "/process", kind, "Content-Length: 100000", f"X-Api-Key: {crowd.key}"))
    await _creep(reader, writer)


async def slow_sign_in(crowd: Crowd, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A sign-in, whose key is in its body, byte after byte."""
    writer.write(crowd.head("POST", "/v1/session", "Content-Type: application/json", "Content-Length: 4000"))
    await _creep(reader, writer)


async def deaf(crowd: Crowd, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A large answer, which is not read."""
    writer.write(crowd.head("GET", crowd.path, f"X-Api-Key: {crowd.key}"))
    connection = writer.get_extra_info("socket")
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # asyncio's transports of sockets have it
    # Nothing else tells of its end without a look at what came.
    while connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != TCP_CLOSE:  # noqa: ASYNC110
        await asyncio.sleep(STEP_S)


async def idle(crowd: Crowd, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One answer, then nothing more."""
    writer.write(crowd.head("GET", "/livez"))
    await _ended(reader)


async def unread(crowd: Crowd, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A body of gigabytes without a key, which goes on after the refusal."""
    writer.write(
        crowd.head("POST", "/process", "Content-Type: multipart/form-data; boundary=b", "Content-Length: 9999999999")
    )
    ended = asyncio.ensure_future(_ended(reader))
    try:
        while not ended.done():
            writer.write(CHUNK)
            await writer.drain()
            await asyncio.sleep(STEP_S / 4)
    finally:
        ended.cancel()


KINDS: dict[str, Client] = {
    "half head": half_head,
    "slow head": slow_head,
    "slow body": slow_body,
    "slow sign-in": slow_sign_in,
    "deaf": deaf,
    "idle": idle,
    "unread body": unread,
}


async def run(given: argparse.Namespace) -> None:
    """So many connections to each address, the kinds in turn."""
    places = [urlsplit(url) for url in given.urls]
    crowds = [Crowd(place.hostname or "", place.port or 80, given.key, given.path) for place in places]
    kinds = given.kinds.split(",")
    async with asyncio.TaskGroup() as group:
        tasks = []
        for number in range(given.count):
            tasks += [group.create_task(crowd.client(kinds[number % len(kinds)])) for crowd in crowds]
            if number % AT_ONCE == 0:
                await asyncio.sleep(AT_ONCE_S)
        await asyncio.sleep(given.seconds)
        for task in tasks:
            task.cancel()
    total = sum((crowd.opened for crowd in crowds), Counter[str]())
    sys.stdout.write(f"{total.total()} connections: {', '.join(f'{n} {kind}' for kind, n in total.items())}\n")


def main() -> None:
    """Run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("urls", nargs="+")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--count", type=int, default=1500)
    parser.add_argument("--seconds", type=float, default=90)
    parser.add_argument("--key", default="")
    parser.add_argument("--path", default="/")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
