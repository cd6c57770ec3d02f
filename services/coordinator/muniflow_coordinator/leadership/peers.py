"""A standby passes questions on to the coordinator that works: it alone knows what is in flight, and how fast."""

import json
import time
from collections.abc import Callable, Mapping
from http.client import HTTPException
from typing import Any
from urllib.parse import quote, urlencode
from urllib.request import ProxyHandler, build_opener

from pydantic import BaseModel, RootModel

from muniflow.errors import Fault, Invalid
from muniflow.runtime.http import Query, Route, parse_bind

TIMEOUT_S = 1.0
PAUSE_S = 5.0
"""One that did not answer is not asked again for so long: it may be frozen, or just ending."""
PASSED_ON = "passed_on"
"""The parameter of a question that was passed on once already."""

Answer = RootModel[dict[str, Any]]


class Peers:
    """Finds the coordinator that works by what it wrote into the ledger when it took over."""

    def __init__(
        self,
        own_url: str | None,
        holder: Callable[[], str],
        leads: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Pass on what comes while `leads` is false, to the one that `holder` names.

        Args:
            own_url: where others reach this process; without it nothing is passed on.
            holder: what `signature` gave to the one that took over last.
            leads: whether this process works.
            clock: seconds.
        """
        self._own_url = own_url
        self._holder = holder
        self._leads = leads
        self._clock = clock
        self._silent: tuple[str, float] | None = None
        """The one that did not answer, and when that was."""
        self._opener = build_opener(ProxyHandler({}))

    def signature(self, name: str) -> str:
        """What this process writes into the ledger: its name, and where it is reached."""
        return name if self._own_url is None else f"{name} {self._own_url}"

    def routes(self, own: Mapping[str, Route]) -> Mapping[str, Route]:
        """These routes, passed on by a standby; it answers itself where nobody else can."""
        if self._own_url is None:
            return own
        return {pattern: self._passed_on(pattern, route) for pattern, route in own.items()}

    def _passed_on(self, pattern: str, route: Route) -> Route:
        def ask(query: Query, parts: tuple[str, ...]) -> BaseModel | None:
            url = None if self._leads() or PASSED_ON in query else self._leader()
            answer = None if url is None else self._ask(url, path_of(pattern, parts), query)
            return route(query, parts) if answer is None else answer

        return ask

    def _leader(self) -> str | None:
        url = self._holder().rpartition(" ")[2]
        if not url.startswith("http://") or url == self._own_url:
            return None
        if self._silent is not None and self._silent[0] == url and self._clock() - self._silent[1] < PAUSE_S:
            return None
        return url

    def _ask(self, url: str, path: str, query: Query) -> BaseModel | None:
        """The answer, or `None` where there is none, or not a good one: then ours is as good."""
        target = f"{url}{path}?{urlencode({**query, PASSED_ON: '1'})}"
        try:
            with self._opener.open(target, timeout=TIMEOUT_S) as answer:
                return Answer.model_validate(json.load(answer))
        except (HTTPException, OSError, ValueError) as error:
            if getattr(error, "code", None) is None:
                self._silent = (url, self._clock())
            return None


def path_of(pattern: str, parts: tuple[str, ...]) -> str:
    """The path that `muniflow.runtime.http.match` took apart."""
    given = iter(parts)
    return "/".join(quote(next(given), safe="") if part == "*" else part for part in pattern.split("/"))


def own_url(host: str | None, bind: str) -> str | None:
    """Where other coordinators reach the port of `bind`, by the address `host`; `None` without one.

    Raises:
        Invalid: the port is not fixed.
    """
    if not host:
        return None
    port = parse_bind(bind)[1]
    if port == 0:
        raise Invalid((Fault("MUNIFLOW_PEER_HOST", "needs a port in MUNIFLOW_HTTP_BIND, for example 0.0.0.0:9100"),))
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
