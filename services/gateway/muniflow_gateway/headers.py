"""Headers that every answer has, and the counting of requests."""

import time
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from muniflow.model.report_rows import CONTENT_TYPES as ROW_TYPES
from muniflow.runtime.settings import variable
from muniflow_gateway.auth.access import Access
from muniflow_gateway.auth.addresses import one_client
from muniflow_gateway.blobs import CONTENT_TYPES
from muniflow_gateway.dependencies import OCTETS
from muniflow_gateway.metrics import GatewayMetrics
from muniflow_gateway.problems import Problem
from muniflow_gateway.settings import GatewaySettings
from muniflow_gateway.upload.pace import BodyPace

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""For the page: its own files only, no inline script or style. `blob:` shows images before they are sent."""
DATA_POLICY = "default-src 'none'; style-src 'self'; frame-ancestors 'none'; sandbox allow-downloads"
"""For everything else: what a browser opens directly can do nothing."""
LISTING_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'; "
    "sandbox allow-downloads allow-same-origin"
)
"""For listings of `/static/`: of the page's own origin, else it would not get its style sheets; without any script."""
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
HSTS = "max-age=31536000"
"""A year. Other names below this one are somebody else's business."""
UPLOADS = frozenset({"/process", "/v1/batches", "/v1/process"})
"""Paths that limit their bodies themselves, once the key is known."""
SIGN_IN = "/v1/session"
"""The key is in its body."""
SIGN_IN_BYTES = 4096
PAGE_PATHS = ("/", "/page/index.html", "/docs")
BYTE_TYPES = frozenset({*CONTENT_TYPES.values(), "application/zip", ROW_TYPES["ndjson"]})
"""Sent as `application/octet-stream` to who accepts nothing else: clients that are generated do not know these."""
LISTINGS = "/static/"
"""Paths below that end in `/` are listings: no name of an image ends so."""


def _policy(path: str) -> str:
    if path in PAGE_PATHS:
        return PAGE_POLICY
    return LISTING_POLICY if path.startswith(LISTINGS) and path.endswith("/") else DATA_POLICY


class SafeHeaders:
    """ASGI middleware; passes bodies through as they come."""

    def __init__(self, app: ASGIApp, access: Access, metrics: GatewayMetrics, settings: GatewaySettings) -> None:
        """Wrap `app`; refuse longer heads, longer bodies where no images are taken, and bodies of who is not served."""
        self._app = app
        self._access = access
        self._settings = settings
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s = time.monotonic()
        asks_bytes = Headers(scope=scope).get("accept") == OCTETS

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers["Content-Security-Policy"] = _policy(scope["path"])
                headers.setdefault("Cache-Control", "no-store")
                if self._settings.behind_tls:
                    headers["Strict-Transport-Security"] = HSTS
                if asks_bytes and headers.get("content-type") in BYTE_TYPES:
                    headers["Content-Type"] = OCTETS
                # The template, never the path: nobody can make up labels. What is no route counts together.
                route = getattr(scope.get("route"), "path", "other")
                self._metrics.answered(scope["method"], route, message["status"], time.monotonic() - began_s)
            await send(message)

        try:
            self._check_head(scope)
            await self._app(scope, self._checked_body(scope["path"], receive), send_with_headers)
        except Problem as refusal:
            self._metrics.refused(refusal.reason)
            refusal.headers["Connection"] = "close"
            await refusal.response()(scope, receive, send_with_headers)
        finally:
            self._access.slots.leave(scope)

    def _check_head(self, scope: Scope) -> None:
        """Refuse a request before its body is read.

        FastAPI reads a body before it asks whose it is.
        """
        if _head_bytes(scope) > self._settings.max_header_bytes:
            # uvicorn's own limit holds only for a head that comes in pieces.
            status, limit = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, self._settings.max_header_bytes
            raise Problem(status, f"the limit is {limit} bytes ({variable('max_header_bytes')})")
        request = HTTPConnection(scope)
        if request.client and self._access.addresses.is_proxy(request.client.host):
            self._access.slots.take_for_address(scope, one_client(self._access.addresses.of(request)))
        if scope["path"] != SIGN_IN and _has_body(scope):
            self._access.admit(request, scope["method"])

    def _checked_body(self, path: str, receive: Receive) -> Receive:
        if path in UPLOADS:
            return _counted(receive, self._metrics)
        pace = BodyPace.of(self._settings)
        return _limited(receive, SIGN_IN_BYTES if path == SIGN_IN else self._settings.max_field_bytes, pace)


def _counted(receive: Receive, metrics: GatewayMetrics) -> Receive:
    """Count the bytes of an upload, whatever becomes of it."""

    async def counted() -> Message:
        message = await receive()
        metrics.upload_bytes.inc(len(message.get("body", b"")))
        return message

    return counted


def _limited(receive: Receive, limit_bytes: int, pace: BodyPace) -> Receive:
    """Refuse a body that FastAPI would keep in memory whatever its size, and wait for as long as it takes."""
    size_bytes, more = 0, True

    async def counted() -> Message:
        nonlocal size_bytes, more
        if not more:  # what comes now is the end of the connection
            return await receive()
        try:
            message = await pace.next(receive())
            pace.came(len(message.get("body", b"")))
        except Problem as slow:  # FastAPI makes a 400 of what it does not know
            raise HTTPException(slow.status, headers=slow.headers) from None
        more = message.get("more_body", False)
        size_bytes += len(message.get("body", b""))
        if size_bytes > limit_bytes:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, headers={"Connection": "close"})
        return message

    return counted


def _has_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def _head_bytes(scope: Scope) -> int:
    fields = sum(len(name) + len(value) for name, value in scope["headers"])
    return fields + len(scope["raw_path"]) + len(scope["query_string"])
