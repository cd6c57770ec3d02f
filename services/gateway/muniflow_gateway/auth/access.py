"""API keys and permissions: who is served, decided from a request's head alone."""

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from muniflow.model.audit import BY_HEADER, FROM_HEADER
from muniflow.model.owners import DEFAULT_OWNER, OWNER_HEADER, SCOPES, Scope
from muniflow.runtime.addresses import is_loopback
from muniflow.runtime.settings import variable
from muniflow_gateway.auth.addresses import ClientAddresses
from muniflow_gateway.auth.api_keys import MAKE_ONE, ApiKey, KeyRing
from muniflow_gateway.auth.quotas import Allowance, Quotas
from muniflow_gateway.auth.slots import RequestSlots
from muniflow_gateway.problems import Problem
from muniflow_gateway.settings import GatewaySettings

COOKIE = "muniflow_key"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
OPEN = f"{variable('gateway_open')}=true"
NO_KEY = f"there is no API key, so nobody is served; {MAKE_ONE}, or on a machine of your own set {OPEN}"
NO_KEY_LEFT = f"there is no API key any more, so nobody is served; {MAKE_ONE}"
FORWARDED = re.compile(
    "forwarded|via|x-forward.*|x-original-.*|x-envoy-.*|x-real-ip|(x-|true-|fastly-)?client-ip|x-cluster-client-ip"
    "|x-(arr|azure|appengine)-.*|x-proxyuser-ip|cf-.*|cdn-loop"
)
"""Headers that proxies and tunnels add to what they pass on, and that nobody who asks directly sends."""

Mode = Literal["keys", "open", "closed"]


def mode_of(*, asked_open: bool, file_used: bool, keys: int) -> Mode:
    """Whom a gateway serves: who has a key, this machine, or nobody.

    Args:
        asked_open: whether `MUNIFLOW_GATEWAY_OPEN` says so.
        file_used: whether the key file is there, or was since the start.
        keys: how many there are now.
    """
    if keys:
        return "keys"
    return "open" if asked_open and not file_used else "closed"


@dataclass(frozen=True)
class Refusal:
    """Why a request is not a local one."""

    status: Literal[HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN]
    why: str


def why_not_local(peer: str, http_version: str, host: str, headers: Iterable[str]) -> Refusal | None:
    """Why a request does not come from a program of this machine itself, as far as that can be seen; `None`: it does.

    Args:
        peer: the address at the other end of the connection.
        http_version: `1.1`.
        host: the `Host` header.
        headers: the names of all headers, in small letters.
    """
    if not is_loopback(peer):
        return Refusal(HTTPStatus.UNAUTHORIZED, "it comes from another machine")
    if found := next((name for name in headers if FORWARDED.fullmatch(name)), None):
        return Refusal(HTTPStatus.UNAUTHORIZED, f"it was forwarded (it has the header {found})")
    # nginx as it comes says so to what is behind it, and adds no header; no browser or client of today does.
    if http_version == "1.0":
        return Refusal(HTTPStatus.UNAUTHORIZED, "it is HTTP/1.0, as a proxy speaks it")
    # A name that leads here by DNS must not reach what needs no key.
    if host_of(host) not in LOCAL_NAMES:
        return Refusal(HTTPStatus.FORBIDDEN, "it is for another host than localhost")
    return None


@dataclass(frozen=True)
class Caller:
    """Who asks."""

    name: str
    """Of the API key; `local` where none is asked for."""
    allowance: Allowance
    owner: str = DEFAULT_OWNER
    """Whose batches it sends."""
    scopes: frozenset[Scope] = frozenset(SCOPES)
    origin: str = ""
    """The address of the client, as far as it is known."""

    def headers(self, owner: str | None = None) -> dict[str, str]:
        """What a message to the coordinator says of the caller, for a batch of `owner`; left out, of its own."""
        return {OWNER_HEADER: owner or self.owner, BY_HEADER: self.name, FROM_HEADER: self.origin}

    @property
    def identity(self) -> str:
        """What tells it from every other caller."""
        return self.name if self.owner == DEFAULT_OWNER else f"{self.owner}\0{self.name}"

    def sees(self, owner: str) -> bool:
        """Whether it may see the batches of this owner."""
        return owner == self.owner or "admin" in self.scopes

    @property
    def sees_only(self) -> str | None:
        """The one owner whose batches it may see; `None`: every one's."""
        return None if "admin" in self.scopes else self.owner

    def require(self, scope: Scope) -> None:
        """Refuse a caller without this scope.

        Raises:
            Problem: 403.
        """
        if scope not in self.scopes:
            text = f"this API key has not the scope `{scope}`; it has: {', '.join(sorted(self.scopes)) or 'none'}"
            raise Problem(HTTPStatus.FORBIDDEN, text, reason="scope")


class Access:
    """Decides who asks, from a request's head alone."""

    def __init__(self, keys: KeyRing, settings: GatewaySettings) -> None:
        """Serve who has one of these keys, within the limits of `settings`."""
        self._keys = keys
        self._quotas = Quotas(settings)
        self.slots = RequestSlots(settings)
        self.addresses = ClientAddresses(settings.trusted_proxies)
        self._asked_open = settings.gateway_open

    @property
    def mode(self) -> Mode:
        """Whom it serves now."""
        return mode_of(asked_open=self._asked_open, file_used=self._keys.used, keys=len(self._keys))

    @property
    def is_open(self) -> bool:
        """Whether this machine needs no key."""
        return self.mode == "open"

    @property
    def says(self) -> str:
        """Whom it serves now, for a person."""
        match self.mode:
            case "keys":
                return "an API key is asked for"
            case "open":
                return f"{OPEN}: requests of this machine are served without an API key"
            case "closed":
                return NO_KEY_LEFT if self._keys.used else NO_KEY

    def caller(self, request: HTTPConnection, method: str) -> Caller:
        """Who asks, and count the request.

        Raises:
            Problem: 401, 403 or 429.
        """
        key = self._key(request, method)
        name = key.name if key else "local"
        allowance = self._quotas.of(name, key)
        allowance.take_request()
        self.slots.take_for_key(request.scope, f"{key.owner}\0{name}" if key else name)
        if (connection := request.scope.get("state", {}).get("connection")) is not None:
            connection.trust()
        origin = self.addresses.of(request)
        if key is None:
            return Caller(name, allowance, origin=origin)
        return Caller(name, allowance, key.owner, frozenset(key.scopes), origin)

    def admit(self, request: HTTPConnection, method: str) -> None:
        """Refuse who is not served, from the head alone; counts nothing.

        Raises:
            Problem: 401 or 403.
        """
        self._key(request, method)

    def serves(self, request: HTTPConnection) -> bool:
        """Whether who has begun to read is still served: a key may end, or be revoked, while its answer goes on."""
        try:
            self.admit(request, "GET")
        except Problem:
            return False
        return True

    def check(self, request: HTTPConnection, secret: str) -> ApiKey:
        """Whose key this is, for a page that signs in; counted as a request of a stranger.

        Raises:
            Problem: 401, 403 or 429.
        """
        _require_own_page(request, "POST")
        self._quotas.of(f"sign-in {self.addresses.of(request)}", None).take_request()
        return self._known(secret)

    def _key(self, request: HTTPConnection, method: str) -> ApiKey | None:
        mode = self.mode
        if mode == "open":
            self._require_local(request)
            _require_own_page(request, method)
            return None
        if mode == "closed":
            raise _unauthorized(self.says)
        secret = secret_of(request)
        if secret is None:
            if cookie := request.cookies.get(COOKIE):
                _require_own_page(request, method)
                secret = cookie
            else:
                raise _unauthorized("give an API key: `Authorization: Bearer …` or `X-Api-Key: …`")
        return self._known(secret)

    def _known(self, secret: str) -> ApiKey:
        key = self._keys.find(secret)
        if key is None:
            raise self._unknown_key()
        if key.expires_at is not None and time.time() >= key.expires_at:
            ended = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(key.expires_at))
            raise _unauthorized(f"this API key was valid until {ended}; ask for a new one")
        return key

    def _require_local(self, request: HTTPConnection) -> None:
        peer = request.client.host if request.client else ""
        host = request.headers.get("host", "")
        refusal = why_not_local(peer, request.scope["http_version"], host, request.headers.keys())
        if refusal is None:
            return
        detail = f"without API keys only requests of this machine itself are served: {refusal.why}; {MAKE_ONE}"
        if refusal.status == HTTPStatus.UNAUTHORIZED:
            raise _unauthorized(detail)
        raise Problem(refusal.status, detail)

    def _unknown_key(self) -> Problem:
        return _unauthorized(self.says if self.mode == "closed" else "the API key is not known, or was revoked")


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
