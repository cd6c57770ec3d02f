"""Forwards requests from a standby to the leader, which alone knows images in flight and rates."""

import json
from collections.abc import Callable, Mapping
from http.client import HTTPException
from urllib.parse import quote, urlencode
from urllib.request import ProxyHandler, build_opener

from pydantic import BaseModel

from muniflow.errors import Fault, Invalid
from muniflow.model.api import Document
from muniflow.runtime.clock import Clock
from muniflow.runtime.http import Query, Route, parse_bind

TIMEOUT_S = 1.0
PAUSE_S = 5.0
"""A leader that did not answer is not asked again for so long: it may be frozen, or about to end."""
PASSED_ON = "passed_on"
"""The query parameter of a forwarded request."""


class Peers:
    """Finds the leader by what it wrote into the database when it took over."""

    def __init__(
        self,
        own_url: str | None,
        holder: Callable[[], str],
        leads: Callable[[], bool],
        clock: Clock,
    ) -> None:
        """Forward requests while `leads()` is false, to the coordinator that `holder()` names.

        Args:
            own_url: where others reach this process; without it nothing is forwarded.
            holder: returns the `signature` of the coordinator that took over last.
            leads: returns whether this process leads.
            clock: for the pause after a leader that did not answer.
        """
        self._own_url = own_url
        self._holder = holder
        self._leads = leads
        self._clock = clock
        self._silent: tuple[str, float] | None = None
        """The leader that did not answer, and when, in monotonic seconds."""
        self._opener = build_opener(ProxyHandler({}))

    def signature(self, name: str) -> str:
        """Return what this process writes into the database: its name and its URL."""
        return name if self._own_url is None else f"{name} {self._own_url}"

    def routes(self, own: Mapping[str, Route]) -> Mapping[str, Route]:
        """Return these routes with forwarding; a standby answers itself if the leader does not."""
        if self._own_url is None:
            return own
        return {pattern: self._forwarded(pattern, route) for pattern, route in own.items()}

    def _forwarded(self, pattern: str, route: Route) -> Route:
        def ask(query: Query, parts: tuple[str, ...]) -> BaseModel | None:
            url = None if self._leads() or PASSED_ON in query else self._leader()
            answer = None if url is None else self._ask(url, path_of(pattern, parts), query)
            return route(query, parts) if answer is None else answer

        return ask

    def _leader(self) -> str | None:
        url = self._holder().rpartition(" ")[2]
        if not url.startswith("http://") or url == self._own_url:
            return None
        if (
            self._silent is not None
            and self._silent[0] == url
            and self._clock.monotonic_s() - self._silent[1] < PAUSE_S
        ):
            return None
        return url

    def _ask(self, url: str, path: str, query: Query) -> BaseModel | None:
        """Return the answer, or `None` if there is none or it is an error: then our own is as good."""
        target = f"{url}{path}?{urlencode({**query, PASSED_ON: '1'})}"
        try:
            with self._opener.open(target, timeout=TIMEOUT_S) as answer:
                return Document.model_validate(json.load(answer))
        except (HTTPException, OSError, ValueError) as error:
            if getattr(error, "code", None) is None:
                self._silent = (url, self._clock.monotonic_s())
            return None


def path_of(pattern: str, parts: tuple[str, ...]) -> str:
    """Return the path that `muniflow.runtime.http.match` matched."""
    given = iter(parts)
    return "/".join(quote(next(given), safe="") if part == "*" else part for part in pattern.split("/"))


def own_url(host: str | None, bind: str) -> str | None:
    """Return the URL of the port of `bind` at the address `host`; `None` without an address.

    Raises:
        Invalid: the port is not fixed.
    """
    if not host:
        return None
    port = parse_bind(bind)[1]
    if port == 0:
        raise Invalid((Fault("MUNIFLOW_PEER_HOST", "needs a port in MUNIFLOW_HTTP_BIND, for example 0.0.0.0:9100"),))
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
