"""One key asks for all waits, event streams and plans of a gateway; another key has its turn all the same."""

import threading
from contextlib import suppress
from functools import partial
from typing import Any

import httpx
import pytest
from tests.integration.gateway.help import OwnGateway, own_gateways
from tests.security.test_forged_tasks import Stopped, copies
from tests.support import web
from tests.support.waiting import eventually

from muniflow_gateway.auth.api_keys import make_key
from muniflow_gateway.auth.slots import RequestSlots, Room
from muniflow_gateway.problems import Problem
from muniflow_gateway.settings import GatewaySettings

pytestmark = pytest.mark.timeout(180)
LIMIT = 6
OPERATIONS = [["resize", "8x8"]]


@pytest.fixture
def gateway(stack, tmp_path):
    """One with little room, and the headers of two owners."""
    path = tmp_path / "keys"
    headers = {name: {"X-Api-Key": make_key(path, name, {"owner": name})} for name in ("greedy", "modest")}
    own = {"MUNIFLOW_API_KEYS_FILE": str(path), "MUNIFLOW_GATEWAY_OPEN": "false"}
    own |= {"MUNIFLOW_MAX_WAITING": str(LIMIT), "MUNIFLOW_MAX_STREAMS": str(LIMIT)}
    own["MUNIFLOW_SOURCE_GRANTS"] = '{"greedy": ["room/"], "modest": ["room/"]}'
    with own_gateways(stack.environment, tmp_path, OwnGateway.ready) as start:
        yield start(**own), headers


class Asker(threading.Thread):
    """Asks once, and keeps the status; reads what comes until it ends."""

    def __init__(self, url, headers):
        super().__init__(daemon=True)
        self.status: int | None = None
        self._asked = (url, headers)
        self.start()

    def run(self):
        url, headers = self._asked
        with suppress(httpx.TransportError), httpx.stream("GET", url, headers=headers, timeout=60) as stream:
            self.status = stream.status_code
            for _ in stream.iter_bytes():
                pass


def has_only(askers, number):
    return sum(asker.status == 503 for asker in askers) == len(askers) - number


def served(asker):
    return asker.status == 200


def test_one_key_does_not_take_all_waits_and_streams(stack, gateway):
    made, headers = gateway
    names = copies(stack, "room")[:2]
    with Stopped(stack):
        for owner, given in headers.items():
            document = {"batch_id": f"room-{owner}", "source": "room/", "images": names, "operations": OPERATIONS}
            assert web.post(f"{made.url}/v1/batches", headers=given, json=document).status_code == 202

        def ask(owner, path):
            return Asker(f"{made.url}/v1/batches/room-{owner}{path}", headers[owner])

        for path in ("/events", "?wait=30"):
            greedy = [ask("greedy", path) for _ in range(2 * LIMIT)]
            eventually(partial(has_only, greedy, LIMIT // 2))
            modest = ask("modest", path)
            if path == "/events":
                eventually(partial(served, modest))
            else:
                modest.join(1)  # a refusal would be there at once
                assert modest.is_alive()


def test_half_of_the_room_is_for_one_key_at_most():
    slots, room = RequestSlots(GatewaySettings()), Room("too many plans are being made", 4)
    taken: list[tuple[str, dict[str, Any]]] = []
    for key in ("greedy", "greedy", "greedy", "modest", "modest", "another"):
        scope: dict[str, Any] = {}
        with suppress(Problem):
            slots.take_room(scope, room, key)
            taken.append((key, scope))
    assert [key for key, _ in taken] == ["greedy", "greedy", "modest", "modest"]
    assert slots.taken(room) == 4
    for _, scope in taken:
        slots.leave(scope)
    assert slots.taken(room) == 0
    slots.take_room({}, Room("one at a time", 1), "greedy")
