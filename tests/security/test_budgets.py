"""Small requests that ask for much work, on a live stack of two gateways: each is priced before it is accepted."""

import json
import time
from functools import partial

import numpy as np
import pytest
from tests.integration.gateway.conftest import GOUDA
from tests.integration.gateway.help import OwnGateway, form, own_gateways
from tests.security.broker_users import broker_user
from tests.support import web
from tests.support.waiting import eventually

from muniflow.images.opencv import cv2
from muniflow.model.budget import DAY_S
from muniflow.model.topology import BATCHES
from muniflow.transport.admin import open_channel, republish
from muniflow.transport.types import OutgoingMessage
from muniflow_gateway.auth.api_keys import make_key

pytestmark = pytest.mark.timeout(120)
FOUR_PANORAMAS = {"operations": [["split", "2x2"], ["resize", "11585x11585"]], "output": "png"}
MANY_PANORAMAS = {"operations": [["split", "64x64"], ["resize", "11585x11585"]], "output": "png"}
SLOW = {"operations": [{"op": "blur", "method": "bilateral", "diameter": 25}], "output": "jpg"}
TEN_MEGAPIXELS = {"operations": [["resize", "4000x2500"]], "output": "jpg"}


def png(side_px=128):
    """Noise, which a PNG cannot fold: 49 KB at 128 x 128."""
    noise = np.random.default_rng(1).integers(0, 256, (side_px, side_px, 3), np.uint8)
    return cv2.imencode(".png", noise)[1].tobytes()


def huge_webp():
    """A WebP of one colour that has 134 megapixels and under 100 bytes."""
    small = cv2.imencode(".webp", np.full((16, 16, 3), 9, np.uint8), [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes()
    place = small.index(b"VP8L") + 9
    bits = int.from_bytes(small[place : place + 4], "little")
    sides = (11585 - 1) | (11585 - 1) << 14
    return small[:place] + (bits & ~(2**28 - 1) | sides).to_bytes(4, "little") + small[place + 4 :]


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """A file of keys, and the key of each owner."""
    path = tmp_path_factory.mktemp("keys") / "keys"
    return path, {owner: make_key(path, owner, {"owner": owner}) for owner in ("gouda", "hoorn")}


@pytest.fixture(scope="module")
def ask(stack, keys, tmp_path_factory):
    """`ask("gouda", "POST", "/process")`: by turns of one gateway and one without budgets of owners."""
    variables = {"MUNIFLOW_API_KEYS_FILE": str(keys[0]), "MUNIFLOW_GATEWAY_OPEN": "false"}
    with own_gateways(stack.environment, tmp_path_factory.mktemp("gateways"), OwnGateway.ready) as start:
        gateways = [start(**variables), start(**variables, MUNIFLOW_OWNER_BUDGETS="{}")]
        count = 0

        def request(who, method, path, **given):
            nonlocal count
            count += 1
            headers = {"Authorization": f"Bearer {keys[1][who]}"}
            return web.request(method, f"{gateways[count % 2].url}{path}", headers=headers, timeout=60, **given)

        yield request


@pytest.fixture(scope="module")
def source(stack):
    """Writes a file below the prefix of an owner; returns its key."""

    def write(owner, name, data):
        folder = stack.folder / owner
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
        return f"{owner}/{name}"

    return write


@pytest.fixture(scope="module")
def over_amqp(stack):
    """Publishes a batch as the user `gouda` of the broker."""
    with broker_user(stack, "gouda") as broker:

        def publish(document):
            with open_channel(broker) as channel:
                republish(channel, OutgoingMessage(BATCHES, json.dumps(document).encode(), user_id="gouda"))

        yield publish


def refused(answer):
    """The one fault of a batch that is too much."""
    assert answer.status_code == 422, f"{answer.status_code}: {answer.text}"
    (fault,) = answer.json()["faults"]
    return fault


def refused_by_name(ask, owner, document):
    """The same of a JSON batch; told later where the coordinator takes longer than the gateway waits."""
    answer = ask(owner, "POST", "/v1/batches", json=document)
    if answer.status_code != 202:
        return refused(answer)
    batch = ended(ask, owner, answer.json()["batch_id"])
    assert batch["state"] == "rejected", batch
    (fault,) = batch["faults"]
    return fault


@pytest.mark.parametrize(
    ("actions", "data", "code"),
    [
        (FOUR_PANORAMAS, png(), "output_too_large"),
        (MANY_PANORAMAS, png(), "output_too_large"),
        (SLOW, huge_webp(), "too_much_work"),
    ],
    ids=["four panoramas", "4096 panoramas", "bilateral"],
)
def test_a_small_form_that_asks_for_much(ask, actions, data, code):
    for path in ("/process", "/v1/batches"):
        fault = refused(ask("hoorn", "POST", path, **form(("a.png", data), actions=actions)))
        assert (fault["place"], fault["reason_code"]) == ("files[0]", code)
        assert "MUNIFLOW_MAX_" in fault["problem"]


@pytest.mark.parametrize(
    ("actions", "data", "code"),
    [(MANY_PANORAMAS, png(), "output_too_large"), (SLOW, huge_webp(), "too_much_work")],
    ids=["4096 panoramas", "bilateral"],
)
def test_the_same_by_name(ask, source, actions, data, code):
    named = {**actions, "images": [source("hoorn", f"{code}.bin", data)]}
    fault = refused_by_name(ask, "hoorn", named)
    assert (fault["place"], fault["reason_code"]) == ("operations", code)


def test_an_image_that_grows_too_much_fails_by_itself(ask, source):
    """Nobody looks at the size of an image that could be large enough for this; its worker does."""
    images = [source("hoorn", "grows.png", png())]
    sent = ask("hoorn", "POST", "/v1/batches", json={**FOUR_PANORAMAS, "images": images, "batch_id": "grows"})
    assert sent.status_code == 202, sent.text
    assert ended(ask, "hoorn", "grows")["state"] == "failed"
    (image,) = ask("hoorn", "GET", "/v1/batches/grows/images").json()["images"]
    assert image["reason_code"] == "output_too_large"


def test_a_text_file_as_a_manifest(ask, source):
    lines = "".join(f"gouda/{number}.jpg\n" for number in range(300_001))
    named = {
        "manifest": source("gouda", "list.txt", lines.encode()),
        "operations": [["resize", "8x8"]],
        "output": "png",
    }
    fault = refused_by_name(ask, "gouda", {**named, "source": "gouda/"})
    assert (fault["place"], fault["reason_code"]) == ("images", "batch_budget")
    assert "1,000 images" in fault["problem"]


def too_many(ask, request):
    """The refusal of a form because of the day; `None` while it is taken."""
    answer = ask("gouda", "POST", "/process", **request)
    return answer if answer.status_code == 429 else None


def ended(ask, owner, batch_id):
    """A batch at its end."""

    def now():
        batch = ask(owner, "GET", f"/v1/batches/{batch_id}").json()
        return batch if batch.get("ended") else None

    return eventually(now, what=f"the end of {batch_id}")


def test_a_day_is_counted_over_gateways_and_ways(ask, source, over_amqp):
    """Six batches of ten megapixels each go in, by form, JSON and AMQP; the seventh does not, whichever way."""
    key = source("gouda", "a.png", png())
    document = {**TEN_MEGAPIXELS, "images": [key]}
    if DAY_S - time.time() % DAY_S < 60:
        pytest.skip("the day ends")
    for number in range(2):
        assert ask("gouda", "POST", "/process", **form(("a.png", png()), actions=TEN_MEGAPIXELS)).text == "OK"
        sent = ask("gouda", "POST", "/v1/batches", json={**document, "batch_id": f"day-json-{number}"})
        assert sent.status_code == 202, sent.text
        over_amqp({**document, "batch_id": f"day-amqp-{number}"})
    for name in ("day-json-0", "day-amqp-0", "day-json-1", "day-amqp-1"):
        assert ended(ask, "gouda", name)["state"] == "done"
    left = eventually(partial(too_many, ask, form(("a.png", png()), actions=TEN_MEGAPIXELS)))
    assert int(left.headers["Retry-After"]) <= DAY_S
    assert left.json()["faults"][0]["reason_code"] == "day_budget"
    assert f"{GOUDA['day']['megapixels']} megapixels a day" in left.json()["detail"]
    again = ask("gouda", "POST", "/v1/batches", json={**document, "batch_id": "day-json-2"})
    assert (again.status_code, "Retry-After" in again.headers) == (429, True)
    for _ in range(2):  # by a gateway that foresees it, and by one that hears of it from the coordinator
        late = ask("gouda", "POST", "/v1/process?wait=60", **form(("a.png", png()), actions=TEN_MEGAPIXELS))
        assert (late.status_code, late.json()["reason"]) == (429, "budget"), late.text
        assert int(late.headers["Retry-After"]) <= DAY_S
    over_amqp({**document, "batch_id": "day-amqp-2"})
    batch = ended(ask, "gouda", "day-amqp-2")
    assert batch["state"] == "rejected"
    assert batch["faults"][0]["reason_code"] == "day_budget"
    assert ask("hoorn", "POST", "/process", **form(("a.png", png()), actions=TEN_MEGAPIXELS)).text == "OK"
