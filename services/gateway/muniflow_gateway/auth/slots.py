"""How many requests are served at the same time for one key, and for one address behind a proxy."""

from collections import Counter
from collections.abc import MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from muniflow.runtime.settings import variable
from muniflow_gateway.problems import RETRY_S, Problem
from muniflow_gateway.settings import GatewaySettings

HELD = "slots"
"""Where a request keeps what it holds."""

Scope = MutableMapping[str, Any]


@dataclass(frozen=True)
class Room:
    """For what a process does few of at a time. No key takes all of it: half at most."""

    refusal: str
    """What who finds no room is told."""
    most: int

    @property
    def most_per_key(self) -> int:
        """Under one key."""
        return max(1, self.most // 2)


class RequestSlots:
    """Counts the requests that are being served. Each holds a slot until its answer is sent."""

    def __init__(self, settings: GatewaySettings) -> None:
        """Limits are those of `settings`."""
        self._per_key = settings.max_requests_per_key
        self._per_address = settings.max_connections_per_address
        self._taken: Counter[tuple[str, str]] = Counter()

    def take_for_key(self, scope: Scope, key: str) -> None:
        """Count a request under a key.

        Raises:
            Problem: 503, there are too many.
        """
        self._take(scope, ("key", key), self._per_key, "with this key", "max_requests_per_key")

    def take_for_address(self, scope: Scope, address: str) -> None:
        """Count a request of an address.

        Raises:
            Problem: 503, there are too many.
        """
        if self._per_address:
            self._take(scope, ("address", address), self._per_address, "of this address", "max_connections_per_address")

    def take_room(self, scope: Scope, room: Room, key: str) -> None:
        """Count a request as one that takes room, until its answer is sent.

        Raises:
            Problem: 503, there is none, or none under this key.
        """
        limits = {(room.refusal, ""): room.most, (room.refusal, key): room.most_per_key}
        if any(self._taken[slot] >= limit for slot, limit in limits.items()):
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, room.refusal, retry_after_s=RETRY_S)
        for slot in limits:
            self._taken[slot] += 1
            scope.setdefault("state", {}).setdefault(HELD, []).append(slot)

    def taken(self, room: Room) -> int:
        """How many requests take room now."""
        return self._taken[room.refusal, ""]

    def leave(self, scope: Scope) -> None:
        """Free what a request holds."""
        for slot in scope.get("state", {}).pop(HELD, ()):
            self._taken[slot] -= 1
            if not self._taken[slot]:
                del self._taken[slot]

    def _take(self, scope: Scope, slot: tuple[str, str], limit: int, whose: str, field: str) -> None:
        held = scope.setdefault("state", {}).setdefault(HELD, [])
        if slot in held:
            return
        if self._taken[slot] >= limit:
            text = f"{limit} requests {whose} are being served, the limit ({variable(field)})"
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, text, retry_after_s=RETRY_S)
        self._taken[slot] += 1
        held.append(slot)
