"""The small read-only HTTP server beside every process: metrics, health, and what its owner adds.

| path | answer |
| --- | --- |
| `/metrics` | the metrics, for Prometheus |
| `/livez` | 200 while the process's loop runs, else 503; never depends on the broker |
| `/readyz` | 200 when it works, else 503 with why not |

Everything else is a JSON route of the owner. It runs in threads of its own: what it calls must be safe there.
"""

import json
import logging
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from pydantic import BaseModel

from muniflow.errors import Fault, Invalid, MuniflowError, NotFound, Rejected, Unavailable
from muniflow.runtime.startable import Startable

Query = Mapping[str, str]
Route = Callable[[Query, tuple[str, ...]], BaseModel | None]
"""Called with the query and what stands for each `*` of the path; `None` is answered with 404.

`Rejected` is answered with 400, `Unavailable` with 503, each with its text.
"""

MAX_QUERY_PARAMETERS = 32
MAX_THREADS = 32
SOCKET_TIMEOUT_S = 10.0
"""A client that sends its request more slowly than this is cut off."""
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
    ) -> None:
        """Take the port.

        Args:
            bind: `host:port`; port 0 takes a free one.
            registry: what `/metrics` shows.
            routes: by path, with `*` for a part that varies.
            live: whether the process's loop runs.
            ready: why the process is not ready, or `None` when it is.
            status: what a ready process is, in a word: `ok`, `leader`, `standby`.

        Raises:
            Invalid: `bind` is not an address.
            Unavailable: the port is taken.
        """
        host, port = parse_bind(bind)
        self._registry = registry
        self._routes = dict(routes or {})
        self._live = live
        self._ready = ready
        self._status = status
        try:
            self._server = _Server((host, port), _handler(self.reply))
        except OSError as error:
            raise Unavailable(f"the address {bind}", error.strerror or str(error)) from None
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="http", daemon=True)

    def start(self) -> None:
        """Answer from now on, in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop and close the port."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def reply(self, target: str) -> Reply:
        """The answer to a GET of `target`, a path with its query."""
        parts = urlsplit(target)
        match parts.path:
            case "/metrics":
                return HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(self._registry)
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


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._slots = threading.BoundedSemaphore(MAX_THREADS)
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """One thread for a request, and no more of them than `MAX_THREADS`: others wait in the listening queue."""
        self._slots.acquire()
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._slots.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, in the thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - as in the base class
        """A client that goes away is not an error; anything else was answered and logged already."""
        logger.debug("a client went away", extra={"client": client_address})


def _handler(reply: Callable[[str], Reply]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = SOCKET_TIMEOUT_S
        server_version = "muniflow"
        sys_version = ""

        def do_GET(self) -> None:
            try:
                answer = reply(self.path)
            except Exception:
                logger.exception("cannot answer", extra={"path": self.path})
                answer = problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error; the log says more")
            self._send(answer)

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
