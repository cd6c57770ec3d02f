"""One owner with many heavy batches on a live stack, and another one with a light one."""

import shutil

import pytest
from tests.integration.gateway.help import PICTURES, OwnGateway, own_gateways
from tests.security.test_forged_tasks import Stopped
from tests.support import web
from tests.support.waiting import eventually

from muniflow.model.messages import TERMINAL
from muniflow_gateway.auth.api_keys import make_key

pytestmark = pytest.mark.timeout(180)
BATCHES, IMAGES = 40, 20
"""Of the heavy owner, who would have taken 4,000 of 4,001 turns by their weights."""
HEAVIEST = 100
OPERATIONS = [["resize", "64x48"], ["blur", "gaussian"]]


@pytest.fixture
def ask(stack, tmp_path):
    """`ask("delft", "GET", "/v1/batches")`: by turns of one gateway and the other."""
    keys = tmp_path / "keys"
    secrets = {owner: make_key(keys, owner, {"owner": owner}) for owner in ("utrecht", "delft")}
    own = {"MUNIFLOW_API_KEYS_FILE": str(keys), "MUNIFLOW_GATEWAY_OPEN": "false"}
    own["MUNIFLOW_SOURCE_GRANTS"] = '{"utrecht": ["turns/"], "delft": ["turns/"]}'
    with own_gateways(stack.environment, tmp_path, OwnGateway.ready) as start:
        gateways = [start(**own) for _ in range(2)]

        def request(owner, method, path, **given):
            gateways.append(gateways.pop(0))
            headers = {"X-Api-Key": secrets[owner]}
            answer = web.request(method, f"{gateways[0].url}{path}", headers=headers, timeout=60, **given)
            assert answer.is_success, answer.text
            return answer.json()

        yield request


def submit(ask, owner, batch_id, images, weight):
    document = {"source": "turns/", "images": images, "operations": OPERATIONS, "weight": weight}
    ask(owner, "POST", "/v1/batches", json={"batch_id": batch_id, **document})


def test_forty_batches_of_the_highest_weight_do_not_delay_another_owners_batch(stack, ask):
    folder = stack.folder / "turns"
    folder.mkdir()
    names = [f"{number}.jpg" for number in range(IMAGES)]
    for name in names:
        shutil.copyfile(PICTURES[0], folder / name)

    with Stopped(stack):
        for number in range(BATCHES):
            submit(ask, "utrecht", f"heavy-{number}", names, HEAVIEST)
        submit(ask, "delft", "light", names, 1)
    eventually(lambda: ask("delft", "GET", "/v1/batches/light")["state"] in TERMINAL)
    light_at = ask("delft", "GET", "/v1/batches/light")["finished_at"]
    heavy = [f"/v1/batches/heavy-{number}" for number in range(BATCHES)]
    eventually(lambda: all(ask("utrecht", "GET", path)["state"] in TERMINAL for path in heavy))

    ends = [ask("utrecht", "GET", path)["finished_at"] for path in heavy]
    before = sum(end < light_at for end in ends)
    assert before < BATCHES / 2, "what was in the queues already, and every second turn; not all of them"
