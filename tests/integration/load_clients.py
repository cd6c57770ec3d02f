"""Clients of a gateway under load: they upload, watch, ask for what does not exist, and exceed their quota."""

import json
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from threading import Event, Thread

import httpx
from tests.support import web

ACTIONS = json.dumps({"operations": [["resize", "50%"]]})
PAUSE_S = 0.4
BOUNDARY = "----client"


def png_that_claims(width: int, height: int) -> bytes:
    """The start of a PNG of this size, up to its pixels: the gateway reads no further."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    whole = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + whole + struct.pack(">I4s", 1000, b"IDAT")


class LoadClients:
    """Asks one gateway until `stop`."""

    def __init__(self, url: str, picture: bytes, batch_id: str) -> None:
        """Hand in `picture` again and again; look on at `batch_id`."""
        self._url = url
        self._picture = picture
        self._batch_id = batch_id
        self._leaving = Event()
        work: tuple[Callable[[httpx.Client], None], ...] = (self._hand_in, self._look_on, self._send_slowly)
        self._threads = [Thread(target=self._ask, args=(each,), daemon=True) for each in work]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End."""
        self._leaving.set()
        for thread in self._threads:
            thread.join(10)

    def _ask(self, work: Callable[[httpx.Client], None]) -> None:
        with web.Client(base_url=self._url, timeout=20) as client:
            while not self._leaving.wait(PAUSE_S):
                with suppress(httpx.TransportError):
                    work(client)

    def _hand_in(self, client: httpx.Client) -> None:
        for data in (self._picture, png_that_claims(6000, 5000)):
            client.post("/process", data={"actions": ACTIONS}, files=[("files", ("a.jpg", data))])
        client.get("/v1/batches")
        client.get("/no/such/place/1")

    def _look_on(self, client: httpx.Client) -> None:
        with client.stream("GET", f"/v1/batches/{self._batch_id}/events") as answer:
            for _ in answer.iter_lines():
                if self._leaving.is_set():
                    return

    def _send_slowly(self, client: httpx.Client) -> None:
        def body() -> Iterator[bytes]:
            head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="slow.jpg"\r\n\r\n'
            yield head.encode() + self._picture
            while not self._leaving.wait(1):
                yield b"x"

        client.post("/process", content=body(), headers={"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"})
