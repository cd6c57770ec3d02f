"""Who may: API keys by header or cookie; without keys, this machine only."""

import ipaddress
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from muniflow_gateway.keys import ApiKey, KeyRing
from muniflow_gateway.problems import Problem
from muniflow_gateway.quotas import Allowance, Quotas

COOKIE = "muniflow_key"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class Caller:
    """Who asks."""

    name: str
    """Of the API key; `local` where there are none."""
    allowance: Allowance


class Access:
    """Decides who asks, from a request's head alone."""

    def __init__(self, keys: KeyRing, quotas: Quotas, *, loopback: bool) -> None:
        """`loopback`: whether the gateway listens on this machine only."""
        self._keys = keys
        self._quotas = quotas
        self._loopback = loopback

    @property
    def is_open(self) -> bool:
        """Whether no key is asked for: there are none, and only this machine can ask."""
        return self._loopback and not len(self._keys)

    @property
    def has_keys(self) -> bool:
        """Whether anybody can be served from elsewhere."""
        return bool(len(self._keys))

    def caller(self, request: HTTPConnection, method: str) -> Caller:
        """Who asks, and count the request.

        Raises:
            Problem: 401, 403 or 429.
        """
        key = self._key(request, method)
        name = key.name if key else "local"
        allowance = self._quotas.of(name, key)
        allowance.take_request()
        return Caller(name, allowance)

    def check(self, request: HTTPConnection, secret: str) -> str:
        """Whose key this is, for a page that signs in; counted as a request of a stranger.

        Raises:
            Problem: 401, 403 or 429.
        """
        _require_own_page(request, "POST")
        client = request.client.host if request.client else ""
        self._quotas.of(f"sign-in {client}", None).take_request()
        key = self._keys.find(secret)
        if key is None:
            raise _unauthorized("the API key is not known, or was revoked")
        return key.name

    def _key(self, request: HTTPConnection, method: str) -> ApiKey | None:
        if self.is_open:
            # A name that leads here by DNS, or a form on another site, must not reach what needs no key.
            if host_of(request.headers.get("host", "")) not in LOCAL_NAMES:
                raise Problem(HTTPStatus.FORBIDDEN, "without API keys only localhost is served; make a key")
            _require_own_page(request, method)
            return None
        secret = secret_of(request)
        if secret is None:
            if cookie := request.cookies.get(COOKIE):
                _require_own_page(request, method)
                secret = cookie
            else:
                raise _unauthorized("give an API key: `Authorization: Bearer …` or `X-Api-Key: …`")
        key = self._keys.find(secret)
        if key is None:
            raise _unauthorized("the API key is not known, or was revoked")
        return key


def secret_of(request: HTTPConnection) -> str | None:
    """The key in the headers."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.casefold() == "bearer" and token.strip():
        return token.strip()
    return request.headers.get("x-api-key") or None


def host_of(host: str) -> str:
    """The name in a `Host` header, without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _require_own_page(request: HTTPConnection, method: str) -> None:
    """Refuse what another site makes a browser send."""
    if method in SAFE_METHODS:
        return
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    same_origin = origin is None or origin.partition("://")[2] == request.headers.get("host")
    if site not in {None, "same-origin", "none"} or not same_origin:
        raise Problem(HTTPStatus.FORBIDDEN, "another site sent this request; only this page and programs may")


def _unauthorized(detail: str) -> Problem:
    return Problem(HTTPStatus.UNAUTHORIZED, detail, headers={"WWW-Authenticate": 'Bearer realm="muniflow"'})
