"""A proxy in front of an S3 server that fails as such servers do: 500, 503, slow, cut off in the middle, stale lists.

Which request meets which fault follows from the seed, the request and how often it came: the same for any order.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import ThreadingHTTPServer
from socket import SHUT_RDWR
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree as ET

from tests.support.http_server import LocalHandler

Fault = Literal["error", "slow_down", "slow", "cut_request", "lost_answer", "cut_answer", "stale_list"]
OUTAGES: tuple[Fault, ...] = ("error", "slow_down", "slow", "cut_request")
"""What may be the fate of every request for a while."""
IN_LISTS: tuple[Fault, ...] = ("stale_list", "stale_list", "stale_list", "stale_list", *OUTAGES)
"""What a listing meets: a batch has few of them."""
SHARE = 0.08
"""Of all requests that meet a fault of their own."""
SLOW_S = 0.7
STALE_S = 4.0
"""A listing may be as it was so long ago."""
REFUSED: Mapping[Fault, tuple[int, str]] = {"error": (500, "InternalError"), "slow_down": (503, "SlowDown")}
NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_LIMIT_S = 30.0
_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}


@dataclass(frozen=True)
class Asked:
    """A request, as far as its fate depends on it."""

    method: str
    bucket: str
    key: str
    query: str

    @classmethod
    def of(cls, method: str, target: str) -> "Asked":
        parts = urlsplit(target)
        bucket, _, key = unquote(parts.path).removeprefix("/").partition("/")
        return cls(method, bucket, key, parts.query)

    @property
    def lists(self) -> bool:
        return self.method == "GET" and not self.key

    def of_query(self, name: str) -> str | None:
        return parse_qs(self.query, keep_blank_values=True).get(name, [None])[0]


def fault_of(seed: int, asked: Asked, number: int, share: float = SHARE) -> Fault | None:
    """The fate of a request that comes for the time `number`."""
    dice = random.Random(f"{seed} {asked.method} {asked.bucket} {asked.key} {asked.of_query('prefix')} {number}")
    if asked.lists:
        return dice.choice(IN_LISTS)
    if dice.random() >= share:
        return None
    own: Fault = "cut_answer" if asked.method == "GET" else "lost_answer"
    return dice.choice((*OUTAGES, own, own))


@dataclass
class Listings:
    """What lists show late: blobs that were just written are not there yet, those just removed still are."""

    written: dict[tuple[str, str], tuple[float, int]] = field(default_factory=dict)
    """When, and how many bytes, by bucket and key."""
    removed: dict[tuple[str, str], float] = field(default_factory=dict)

    def wrote(self, bucket: str, key: str, size: int) -> None:
        self.written[bucket, key] = (time.monotonic(), size)
        self.removed.pop((bucket, key), None)

    def remove(self, bucket: str, key: str) -> None:
        if (bucket, key) in self.written:
            self.removed[bucket, key] = time.monotonic()

    def stale(self, asked: Asked, body: bytes) -> bytes:
        """A listing as it was a while ago."""
        since_s = time.monotonic() - STALE_S
        root = ET.fromstring(body)  # noqa: S314 - of our own server
        rows = {str(row.findtext(_tag("Key"))): row for row in root.findall(_tag("Contents"))}
        for row in rows.values():
            root.remove(row)
        prefix, whole = asked.of_query("prefix") or "", root.findtext(_tag("IsTruncated")) != "true"
        shown = {key: row for key, row in rows.items() if self.written.get((asked.bucket, key), (0.0, 0))[0] <= since_s}
        for (bucket, key), at_s in self.removed.items():
            written_s, size = self.written[bucket, key]
            # It was there then only if it had been written before.
            there = whole and bucket == asked.bucket and key.startswith(prefix) and key not in rows
            if there and written_s <= since_s < at_s:
                shown[key] = _row(key, size)
        root.extend(shown[key] for key in sorted(shown))
        ET.register_namespace("", NAMESPACE)
        text: str = ET.tostring(root, encoding="unicode")
        return text.encode()


def _tag(name: str) -> str:
    return f"{{{NAMESPACE}}}{name}"


def _row(key: str, size: int) -> ET.Element:
    row = ET.Element(_tag("Contents"))
    for name, text in {
        "Key": key, "LastModified": "2026-01-01T00:00:00.000Z", "ETag": '"0"', "Size": str(size),
        "StorageClass": "STANDARD",
    }.items():  # fmt: skip
        ET.SubElement(row, _tag(name)).text = text
    return row


class FaultyS3:
    """The proxy. It does no harm until `seed` is set."""

    def __init__(self, server: tuple[str, int]) -> None:
        self.seed: int | None = None
        self.outage: Fault | None = None
        """What every request meets now."""
        self.listings = Listings()
        self.met: Counter[Fault] = Counter()
        """How many requests met each fault."""
        self._server = server
        self._asked: Counter[Asked] = Counter()
        self._lock = threading.Lock()
        self._one = threading.Lock()
        self._http = _Server(("127.0.0.1", 0), _Handler)
        self._http.proxy = self
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def fate(self, asked: Asked) -> Fault | None:
        """Decide, and count."""
        with self._lock:
            self._asked[asked] += 1
            number, seed, fate = self._asked[asked], self.seed, self.outage
            if fate is None and seed is not None:
                fate = fault_of(seed, asked, number)
            if fate is not None:
                self.met[fate] += 1
            return fate

    def forward(self, asked: Asked, target: str, headers: Mapping[str, str], body: bytes) -> "Answer":
        """Ask the server, one request at a time: moto looks whether a blob is there, then writes it."""
        with self._one:
            connection = HTTPConnection(*self._server, timeout=_LIMIT_S)
            connection.request(asked.method, target, body, {**headers, "Connection": "close"})
            found = connection.getresponse()
            answer = Answer(found.status, dict(found.getheaders()), found.read())
            connection.close()
            if answer.status < 300:
                self._note(asked, body)
        return answer

    def _note(self, asked: Asked, body: bytes) -> None:
        if asked.method == "PUT" and asked.key:
            self.listings.wrote(asked.bucket, asked.key, len(body))
        elif asked.method == "DELETE" and asked.key:
            self.listings.remove(asked.bucket, asked.key)
        elif asked.of_query("delete") is not None:
            for element in ET.fromstring(body).iter():  # noqa: S314 - of our own client
                if element.tag.endswith("Key"):
                    self.listings.remove(asked.bucket, element.text or "")

    def close(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


@dataclass(frozen=True)
class Answer:
    """Of the server."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    proxy: FaultyS3

    def handle_error(self, *_: object) -> None:
        """A client that is killed cuts its connections: nobody needs to read of it."""


class _Handler(LocalHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def pass_on(self) -> None:
        proxy, asked = self.server.proxy, Asked.of(self.command, self.path)
        fate = proxy.fate(asked)
        if fate == "cut_request":
            self.rfile.read(int(self.headers.get("Content-Length") or 0) // 2)
            return self._cut()
        body = self.read_body()
        if fate is not None and fate in REFUSED:
            status, code = REFUSED[fate]
            text = f"<Error><Code>{code}</Code><Message>of the test</Message></Error>" if self.command != "HEAD" else ""
            return self.answer(status, text.encode(), "application/xml")
        if fate == "slow":
            time.sleep(SLOW_S)  # no condition: it is the fault
        kept = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
        answer = proxy.forward(asked, self.path, kept, body)
        if fate == "lost_answer":
            return self._cut()
        data = answer.body
        if fate == "stale_list" and answer.status == 200:
            data = proxy.listings.stale(asked, data)
        self._give(answer, data, whole=fate != "cut_answer")
        return None

    def _give(self, answer: Answer, data: bytes, *, whole: bool) -> None:
        self.send_response(answer.status)
        length = len(data) if self.command != "HEAD" else answer.headers.get("Content-Length", "0")
        headers = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
        for name, value in {**headers, "Content-Length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data if whole else data[: len(data) // 2])
        if not whole:
            self._cut()

    def _cut(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(SHUT_RDWR)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = pass_on  # noqa: N815 - names that http.server looks for


@contextmanager
def faulty_s3(server: tuple[str, int]) -> Iterator[FaultyS3]:
    """The proxy in front of a server at host and port."""
    proxy = FaultyS3(server)
    try:
        yield proxy
    finally:
        proxy.close()
