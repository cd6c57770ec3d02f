"""The small read-only HTTP server beside every process: metrics, health, and what its owner adds.

| path | answer |
| --- | --- |
| `/metrics` | the metrics, for Prometheus |
| `/livez` | 200 while the process's loop runs, else 503; never depends on the broker |
| `/readyz` | 200 when it works, else 503 with why not |

Everything else is a JSON route of the owner. It runs in threads of its own: what it calls must be safe there. Health is
answered without waiting for any of them, nor for a client: `muniflow.runtime.listener`.
"""

import json
import logging
import threading
from collections.abc import Callable, Mapping
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from typing import Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from pydantic import BaseModel

from muniflow.errors import Fault, Invalid, MuniflowError, NotFound, Rejected
from muniflow.runtime.listener import Listener, ListenerLimits
from muniflow.runtime.startable import Startable

Query = Mapping[str, str]
Route = Callable[[Query, tuple[str, ...]], BaseModel | None]
"""Called with the query and what stands for each `*` of the path; `None` is answered with 404.

`Rejected` is answered with 400, `Unavailable` with 503, each with its text.
"""

MAX_QUERY_PARAMETERS = 32
HEALTH = frozenset({b"/livez", b"/readyz"})
"""Answered at once: they look, and wait for nothing."""
CONTENT_JSON = "application/json"
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}

logger = logging.getLogger(__name__)

Reply = tuple[HTTPStatus, str, bytes]
"""Status, content type, body."""


def problem(status: HTTPStatus, text: str) -> Reply:
    """An error as JSON: `{"error": "…"}`."""
    return status, CONTENT_JSON, json.dumps({"error": text}).encode()


def match(pattern: str, path: str) -> tuple[str, ...] | None:
    """What stands for each `*` of the pattern, decoded; `None` where the path is another one.

    A `*` is one part of the path: `/v1/batches/*` matches `/v1/batches/a`, not `/v1/batches/a/images`.
    """
    wanted, given = pattern.split("/"), path.split("/")
    if len(wanted) != len(given):
        return None
    parts = []
    for want, part in zip(wanted, given, strict=True):
        if want == "*" and part:
            parts.append(unquote(part))
        elif want != part:
            return None
    return tuple(parts)


def parse_bind(bind: str) -> tuple[str, int]:
    """Host and port of `127.0.0.1:8000` or `:8000` (every address).

    Raises:
        Invalid: it is not of that form.
    """
    host, colon, port = bind.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:  # noqa: PLR2004 - the largest port
        raise Invalid((Fault("MUNIFLOW_HTTP_BIND", f"write host:port, for example 127.0.0.1:8000 (it is {bind!r})"),))
    return host, int(port)


class SharedText:
    """A text that takes long to make, for many who ask at once: who asks gets one that was begun after that."""

    def __init__(self, make: Callable[[], bytes]) -> None:
        """Let `make` make it, in one thread at a time."""
        self._make = make
        self._making = threading.Lock()
        self._begun = self._made = 0
        self._text = b""

    def get(self) -> bytes:
        """Return the text of now; from any thread."""
        begun_before = self._begun
        with self._making:
            if self._made <= begun_before:
                self._begun += 1
                self._text = self._make()
                self._made = self._begun
            return self._text


class HttpServer(Startable):
    """The server; it listens from the moment it is made, and answers after `start`."""

    def __init__(
        self,
        bind: str,
        registry: CollectorRegistry,
        routes: Mapping[str, Route] | None = None,
        *,
        live: Callable[[], bool],
        ready: Callable[[], str | None],
        status: Callable[[], str] = lambda: "ok",
        limits: ListenerLimits | None = None,
    ) -> None:
        """Take the port.

        Args:
            bind: `host:port`; port 0 takes a free one.
            registry: what `/metrics` shows.
            routes: by path, with `*` for a part that varies.
            live: whether the process's loop runs.
            ready: why the process is not ready, or `None` when it is.
            status: what a ready process is, in a word: `ok`, `leader`, `standby`.
            limits: what clients may take.

        Raises:
            Invalid: `bind` is not an address.
            Unavailable: the port is taken.
        """
        host, port = parse_bind(bind)
        self._metrics = SharedText(partial(generate_latest, registry))
        self._routes = dict(routes or {})
        self._live = live
        self._ready = ready
        self._status = status
        self._listener = Listener(host, port, _renderer(self.reply), _is_health, limits or ListenerLimits())
        self.port: int = self._listener.port

    def start(self) -> None:
        """Answer from now on, in a thread."""
        self._listener.start()

    def stop(self) -> None:
        """Stop and close the port."""
        self._listener.stop()

    @property
    def connections(self) -> int:
        """How many are open."""
        return self._listener.connections

    def reply(self, target: str) -> Reply:
        """The answer to a GET of `target`, a path with its query."""
        try:
            return self._reply(target)
        except Exception:
            logger.exception("cannot answer", extra={"path": target})
            return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error; the log says more")

    def _reply(self, target: str) -> Reply:
        parts = urlsplit(target)
        match parts.path:
            case "/metrics":
                return HTTPStatus.OK, CONTENT_TYPE_LATEST, self._metrics.get()
            case "/livez":
                return _health(None if self._live() else "the event loop does not run")
            case "/readyz":
                return _health(self._ready(), self._status())
            case path:
                return self._route(path, parts.query)

    def _route(self, path: str, query: str) -> Reply:
        for pattern, route in self._routes.items():
            if (parts := match(pattern, path)) is not None:
                try:
                    values = dict(parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_QUERY_PARAMETERS))
                except ValueError:
                    return problem(HTTPStatus.BAD_REQUEST, f"more than {MAX_QUERY_PARAMETERS} parameters")
                return _answer(route, values, parts)
        return problem(HTTPStatus.NOT_FOUND, "there is no such path")


def _health(why_not: str | None, status: str = "ok") -> Reply:
    if why_not is None:
        return HTTPStatus.OK, CONTENT_JSON, json.dumps({"status": status}).encode()
    return problem(HTTPStatus.SERVICE_UNAVAILABLE, why_not)


def _answer(route: Route, values: Query, parts: tuple[str, ...]) -> Reply:
    try:
        answer = route(values, parts)
    except NotFound as error:
        return problem(HTTPStatus.NOT_FOUND, str(error))
    except Rejected as error:
        return problem(HTTPStatus.BAD_REQUEST, str(error))
    except MuniflowError as error:
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
    if answer is None:
        return problem(HTTPStatus.NOT_FOUND, "not found")
    return HTTPStatus.OK, CONTENT_JSON, answer.model_dump_json().encode()


def _is_health(head: bytes) -> bool:
    """Whether a request asks for health: that is never waited for."""
    target = head.split(b" ", 2)[1:2]
    return bool(target) and target[0].partition(b"?")[0] in HEALTH


def _renderer(reply: Callable[[str], Reply]) -> Callable[[bytes], bytes]:
    """The standard library's reading of HTTP, from memory to memory."""
    handler: Any = _handler(reply)

    def render(head: bytes) -> bytes:
        answer: BytesIO = handler(head, ("", 0), None).wfile
        return answer.getvalue()

    return render


def _handler(reply: Callable[[str], Reply]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        server_version = "muniflow"
        sys_version = ""

        def setup(self) -> None:
            """Read the head from memory, and write the answer there."""
            self.rfile, self.wfile = BytesIO(cast("bytes", self.request)), BytesIO()

        def finish(self) -> None:
            """All is in memory."""

        def do_GET(self) -> None:
            self._send(reply(self.path))

        do_HEAD = do_GET  # noqa: N815 - a name of the standard library

        def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
            """Errors of the protocol itself, as JSON, too. A method without a `do_…` is one of them."""
            del explain
            status = HTTPStatus.METHOD_NOT_ALLOWED if code == HTTPStatus.NOT_IMPLEMENTED else HTTPStatus(code)
            self._send(problem(status, message or status.phrase))

        def _send(self, answer: Reply) -> None:
            status, content_type, body = answer
            self.send_response(status)
            for name, value in HEADERS.items():
                self.send_header(name, value)
            if status == HTTPStatus.METHOD_NOT_ALLOWED:
                self.send_header("Allow", "GET, HEAD")
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - a name of the standard library
            logger.debug(format, *args)

    return Handler
