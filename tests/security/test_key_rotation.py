"""Keys are replaced on a live stack of two gateways while a batch runs: whoever has the new one goes on."""

import threading
import time

import httpx
import pytest
from tests.integration.gateway.help import OwnGateway, own_gateways
from tests.security.test_forged_tasks import OPERATIONS, Stopped, copies
from tests.support import web
from tests.support.waiting import eventually

from muniflow_gateway.auth.api_keys import make_key, revoke_key

pytestmark = pytest.mark.timeout(180)
ENDS_S = 15
"""Of a stream under a key that has ended: a second on a quiet machine."""


@pytest.fixture
def keys(tmp_path):
    """A file, and the secret of each key."""
    path = tmp_path / "keys"
    return path, {"old": make_key(path, "old", {"owner": "utrecht"})}


@pytest.fixture
def gateways(stack, keys, tmp_path):
    grants = '{"utrecht": ["replaced-revoked/", "replaced-over/"]}'
    variables = {"MUNIFLOW_API_KEYS_FILE": str(keys[0]), "MUNIFLOW_GATEWAY_OPEN": "false"}
    with own_gateways(stack.environment, tmp_path, OwnGateway.ready) as start:
        yield [start(**variables, MUNIFLOW_SOURCE_GRANTS=grants) for _ in range(2)]


class Follower(threading.Thread):
    """Follows a batch to the end of the stream."""

    def __init__(self, gateway, secret, batch_id):
        super().__init__(daemon=True)
        self._url = f"{gateway.url}/v1/batches/{batch_id}/events"
        self._headers = {"X-Api-Key": secret}
        self.lines: list[str] = []
        self.start()

    def run(self):
        with httpx.stream("GET", self._url, headers=self._headers, timeout=90) as stream:
            for line in stream.iter_lines():
                self.lines.append(line)

    @property
    def told_the_end(self):
        return "event: end" in self.lines


def status(gateway, secret, path="/v1/batches"):
    return web.get(f"{gateway.url}{path}", headers={"X-Api-Key": secret}).status_code


@pytest.mark.parametrize("how", ["revoked", "over"])
def test_a_key_is_replaced_while_its_batch_runs(stack, gateways, keys, how):
    path, secrets = keys
    batch_id = f"replaced-{how}"
    names = copies(stack, batch_id)
    with Stopped(stack):
        document = {"batch_id": batch_id, "source": "", "images": [f"{batch_id}/{name}" for name in names]}
        sent = web.post(
            f"{gateways[0].url}/v1/batches",
            headers={"X-Api-Key": secrets["old"]},
            json={**document, "operations": OPERATIONS, "output": "png"},
        )
        assert sent.status_code == 202, sent.text
        if how == "over":
            revoke_key(path, "old")
            secrets["old"] = make_key(path, "old", {"owner": "utrecht", "expires_at": time.time() + 6})
            eventually(lambda: all(status(gateway, secrets["old"]) == 200 for gateway in gateways))
        old = [Follower(gateway, secrets["old"], batch_id) for gateway in gateways]
        eventually(lambda: all(follower.lines for follower in old))
        secrets["new"] = make_key(path, "new", {"owner": "utrecht"})
        eventually(lambda: all(status(gateway, secrets["new"]) == 200 for gateway in gateways))
        new = [Follower(gateway, secrets["new"], batch_id) for gateway in gateways]
        if how == "revoked":
            revoke_key(path, "old")
        eventually(lambda: all(status(gateway, secrets["old"]) == 401 for gateway in gateways))
        for follower in old:
            follower.join(ENDS_S)
            assert not follower.is_alive(), "it goes on to hear of the batch"
            assert not follower.told_the_end

    for follower in new:
        follower.join(90)
        assert follower.told_the_end
    answer = web.get(f"{gateways[1].url}/v1/batches/{batch_id}", headers={"X-Api-Key": secrets["new"]}).json()
    assert (answer["state"], answer["done"]) == ("done", len(names))
    assert {status(gateway, secrets["old"], f"/static/{batch_id}/") for gateway in gateways} == {401}
