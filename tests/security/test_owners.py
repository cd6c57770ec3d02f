"""Two owners on a live stack, each of whom tries to see, stop, read or take what is the other's."""

import json
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest
from pika.exceptions import ChannelClosedByBroker
from tests.integration.gateway.help import PICTURES, OwnGateway, form, own_gateways, picture
from tests.security.broker_users import broker_user
from tests.support import web
from tests.support.waiting import eventually

from muniflow.model.messages import Command
from muniflow.model.owners import OWNER_HEADER
from muniflow.model.topology import BATCHES, CONTROL, EVERY_NOTICE, NOTIFY_EXCHANGE, notice_key
from muniflow.transport.admin import name_of_own, open_channel, republish
from muniflow.transport.types import OutgoingMessage
from muniflow_gateway.auth.api_keys import make_key

pytestmark = pytest.mark.timeout(120)
SIZES = [{"width": 10, "height": 10, "count": 1}]
BODY = {"operations": [["resize", "8x8"]], "output": "png"}
GRANTS = json.dumps({"utrecht": ["examples/"], "delft": ["delft/"]})


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """A file of keys, and the key of each caller."""
    path = tmp_path_factory.mktemp("keys") / "keys"
    given: dict[str, dict[str, Any]] = {
        "utrecht": {"owner": "utrecht"},
        "delft": {"owner": "delft"},
        "earlier": {},
        "watcher": {"owner": "utrecht", "scopes": ("read",)},
        "sender": {"owner": "utrecht", "scopes": ("submit",)},
        "all": {"scopes": ("submit", "read", "operate", "admin")},
        "ended": {"owner": "utrecht", "expires_at": time.time() - 1},
    }
    return path, {name: make_key(path, name, fields) for name, fields in given.items()}


@pytest.fixture(scope="module")
def gateways(stack, keys, tmp_path_factory):
    """Two of them on one stack, with keys."""
    variables = {
        "MUNIFLOW_API_KEYS_FILE": str(keys[0]),
        "MUNIFLOW_GATEWAY_OPEN": "false",
        "MUNIFLOW_SOURCE_GRANTS": GRANTS,
    }
    with own_gateways(stack.environment, tmp_path_factory.mktemp("gateways"), OwnGateway.ready) as start:
        yield [start(**variables) for _ in range(2)]


@pytest.fixture(scope="module")
def ask(gateways, keys):
    """`ask("delft", "GET", "/v1/batches")`: by turns of one gateway and the other."""
    count = 0

    def request(who, method, path, **given):
        nonlocal count
        count += 1
        headers = {"Authorization": f"Bearer {keys[1][who]}", **given.pop("headers", {})}
        return web.request(method, f"{gateways[count % 2].url}{path}", headers=headers, timeout=60, **given)

    return request


@pytest.fixture(scope="module")
def delft(stack):
    """The broker for its user `delft`, who hears its own notices alone."""
    with broker_user(stack, "delft", hears="^batch[.][^.]+[.]delft$") as settings:
        yield settings


@pytest.fixture(scope="module")
def theirs(ask):
    """A batch of utrecht that has ended."""
    sent = ask("utrecht", "POST", "/v1/process?wait=60", **form(picture()))
    assert sent.status_code == 200, sent.text
    return sent.headers["X-Batch-Id"]


def paths_of(batch_id):
    """Everything there is of a batch."""
    batch = f"/v1/batches/{batch_id}"
    images = ("/images", "/images/0/source", "/images/0/outputs/0", "/outputs", "/outputs.zip")
    parts = ("", *images, "/report", "/report.ndjson", "/report.csv", "/events")
    name = f"{Path(PICTURES[0]).stem}-0.jpg"
    static = ("", "sent/", f"sent/{PICTURES[0].name}", name, "report.json")
    return [f"{batch}{part}" for part in parts] + [f"/static/{batch_id}/{part}" for part in static]


def test_an_owner_sees_all_of_its_own_batch(ask, theirs):
    for path in paths_of(theirs):
        for who in ("utrecht", "watcher", "all"):
            answer = ask(who, "GET", path)
            assert answer.status_code == 200, f"{who} {path}: {answer.text}"


@pytest.mark.parametrize("who", ["delft", "earlier"])
def test_of_another_owners_batch_nothing_is_there(ask, theirs, who):
    nothing = ask(who, "GET", "/v1/batches/nothing").json()
    for path in paths_of(theirs):
        answer = ask(who, "GET", path)
        assert (answer.status_code, answer.json()) == (404, nothing), path
    assert ask(who, "DELETE", f"/v1/batches/{theirs}").json() == nothing
    assert ask(who, "POST", f"/v1/batches/{theirs}/replay").json() == nothing
    assert theirs not in ask(who, "GET", "/v1/batches?limit=500").text
    assert theirs not in ask(who, "GET", "/v1/batches?limit=500&owner=utrecht").text
    assert theirs not in ask(who, "GET", "/static/").text
    assert theirs in ask("utrecht", "GET", "/v1/batches?limit=500").text
    assert theirs in ask("all", "GET", "/v1/batches?limit=500&owner=utrecht").text


def test_a_key_can_do_what_its_scopes_say(ask, theirs):
    batch = f"/v1/batches/{theirs}"
    for who, method, path in (
        ("watcher", "POST", "/v1/batches"),
        ("watcher", "POST", "/process"),
        ("watcher", "DELETE", batch),
        ("watcher", "POST", f"{batch}/replay"),
        ("sender", "GET", batch),
        ("sender", "GET", f"/static/{theirs}/"),
    ):
        answer = ask(who, method, path, **(form(picture()) if path in {"/v1/batches", "/process"} else {}))
        assert answer.status_code == 403, f"{who} {method} {path}"
        assert "has not the scope" in answer.json()["detail"]
    assert ask("sender", "POST", "/process", **form(picture())).status_code == 200
    for field, value in {"priority": "high", "deadline": "2030-06-01T17:00:00+02:00"}.items():
        document = {**BODY, "images": ["examples/a.jpg"], field: value}
        assert ask("sender", "POST", "/v1/batches", json=document).json()["faults"][0]["place"] == field
    ended = ask("ended", "GET", "/v1/session")
    assert (ended.status_code, "valid until" in ended.json()["detail"]) == (401, True)


@pytest.mark.parametrize("named", [
    {"source": "examples/images/"}, {"images": [f"examples/images/{PICTURES[0].name}"]},
    {"manifest": "examples/list.txt"}, {"source": "delft/../examples/"}, {"source": "delfter/"}, {"source": ""},
])  # fmt: skip
def test_an_owner_reads_only_what_is_granted(ask, named):
    for path in ("/v1/batches", "/v1/plans"):
        refused = ask("delft", "POST", path, json={**BODY, **named})
        assert refused.status_code == 422, refused.text
    plan = ask("delft", "POST", "/v1/plans", json={**BODY, "sizes": SIZES})
    assert plan.status_code in {200, 503}, plan.text


def test_an_id_is_nobody_elses(ask, stack):
    mine = {**BODY, "images": [f"examples/images/{PICTURES[0].name}"], "batch_id": "owners-id"}
    assert ask("utrecht", "POST", "/v1/batches", json=mine).status_code == 202
    eventually(lambda: ask("utrecht", "GET", "/v1/batches/owners-id").json()["state"] == "done")
    # The same document of another one does not become the same batch, however it ended.
    (stack.folder / "delft").mkdir(exist_ok=True)
    (stack.folder / "delft" / "a.jpg").write_bytes(picture()[1])
    other = {**mine, "images": ["delft/a.jpg"]}
    taken = ask("delft", "POST", "/v1/batches", json=other)
    assert taken.status_code == 409
    assert "taken" in taken.text
    assert "examples" not in taken.text
    place = ask("delft", "POST", "/v1/batches", json={**other, "batch_id": "new", "destination": "owners-id/x"})
    assert place.status_code == 409
    assert "batch owners-id" not in place.text


@pytest.mark.parametrize("batch_id", ["key-" + "0" * 32, "batch-" + "0" * 16, "20261122-093015-3f9c2a1b"])
def test_an_id_that_the_gateway_makes_cannot_be_registered(ask, batch_id):
    refused = ask("delft", "POST", "/v1/batches", json={**BODY, "images": ["delft/a.jpg"], "batch_id": batch_id})
    assert refused.status_code == 422
    assert refused.json()["faults"][0]["place"] == "batch_id"


def test_the_same_content_of_two_owners_is_two_batches(ask):
    ids = set()
    for who in ("utrecht", "earlier"):
        document = {**BODY, "images": [f"examples/images/{PICTURES[1].name}"]}
        sent = ask(who, "POST", "/v1/batches", json=document)
        assert sent.status_code == 202, sent.text
        again = ask(who, "POST", "/v1/batches", json={**document, "batch_id": sent.json()["batch_id"]})
        assert again.status_code in {202, 409}
        ids.add(sent.json()["batch_id"])
    assert len(ids) == 2


def test_what_was_done_is_in_the_audit_trail(ask, theirs, stack, muniflow):
    before = time.time()
    assert ask("utrecht", "GET", f"/v1/batches/{theirs}/outputs.zip").status_code == 200
    missing = {**BODY, "images": ["examples/none.jpg"], "batch_id": "audited"}
    assert ask("utrecht", "POST", "/v1/batches", json=missing).status_code == 202
    eventually(lambda: ask("utrecht", "GET", "/v1/batches/audited").json().get("ended"))
    assert ask("utrecht", "POST", "/v1/batches/audited/replay").status_code == 202

    def entries():
        found = web.get(f"{stack.state.coordinator_url}/v1/audit?owner=utrecht&limit=500").json()["entries"]
        return [(one["action"], one["by"], one["origin"], one["batch"]) for one in found if one["at"] > before]

    wanted = [("download", theirs), ("submit", "audited"), ("replay", "audited")]
    for action, batch in wanted:
        row = (action, "utrecht", "127.0.0.1", batch)
        eventually(partial(lambda row: row in entries(), row))
        assert entries().count(row) == 1
    printed = muniflow.read("audit", "--limit", "500")["entries"]
    made = [(one["detail"], one["at"]) for one in printed if one["action"] == "key made"]
    assert {"all", "delft", "earlier", "ended", "sender", "utrecht", "watcher"} <= {name for name, _ in made}
    assert len(made) == len(set(made)), "by two gateways, once"


def send(settings, queue, body, **given):
    """Publish one message as a user of the broker."""
    with open_channel(settings) as channel:
        republish(channel, OutgoingMessage(queue, body, **{"user_id": "delft", **given}))


def test_over_amqp_the_user_is_the_owner(ask, stack, delft):
    (stack.folder / "delft").mkdir(exist_ok=True)
    (stack.folder / "delft" / "a.jpg").write_bytes(picture()[1])
    document = {**BODY, "images": ["delft/a.jpg"], "batch_id": "of-delft"}
    send(delft, BATCHES, json.dumps(document).encode())
    eventually(lambda: ask("delft", "GET", "/v1/batches/of-delft").json().get("state") == "done")
    assert ask("utrecht", "GET", "/v1/batches/of-delft").status_code == 404
    assert ask("delft", "GET", "/v1/batches/of-delft").json()["owner"] == "delft"


def test_a_refused_batch_is_its_owners_alone_also_where_both_took_its_id(ask, delft, theirs):
    """By the ledger, and by what a gateway has just heard."""
    there = {**BODY, "images": ["examples/none.jpg"], "batch_id": "refused", "destination": theirs}
    assert ask("utrecht", "POST", "/v1/batches", json=there).status_code == 409
    send(delft, BATCHES, json.dumps({**there, "destination": "elsewhere"}).encode())

    def refused(who):
        page = ask(who, "GET", "/v1/batches?state=rejected").json()["batches"]
        shown = [each for each in page if each["batch_id"] == "refused"]
        return [(each["owner"], *(fault["place"] for fault in each["faults"])) for each in shown]

    eventually(lambda: refused("delft"))
    assert (refused("utrecht"), refused("delft"), refused("earlier")) == (
        [("utrecht", "destination")], [("delft", "images[0]")], [],
    )  # fmt: skip
    assert len(refused("all")) == 2
    for who in ("utrecht", "delft", "earlier", "all"):
        listed = [each["batch_id"] for each in ask(who, "GET", "/v1/batches").json()["batches"]]
        assert listed.count("refused") == len(refused(who))
    for who, place in (("utrecht", "destination"), ("delft", "images[0]")) * 2:
        batch = ask(who, "GET", "/v1/batches/refused").json()
        assert (batch["state"], batch["owner"], batch["faults"][0]["place"]) == ("rejected", who, place)
    for path in ("", "/events", "/images"):
        assert ask("earlier", "GET", f"/v1/batches/refused{path}").status_code == 404


def test_the_broker_refuses_a_false_sender_and_the_coordinator_a_false_owner(ask, stack, delft):
    own = urlsplit(stack.state.amqp_url).username
    document = json.dumps({**BODY, "images": ["delft/a.jpg"], "batch_id": "forged"}).encode()
    with pytest.raises(ChannelClosedByBroker, match="user_id"):
        send(delft, BATCHES, document, user_id=own)
    send(delft, BATCHES, document, headers={OWNER_HEADER: "utrecht"})

    def faults() -> list[str]:
        page = ask("all", "GET", "/v1/batches?state=rejected").json()["batches"]
        return [fault["place"] for each in page if each["batch_id"] == "forged" for fault in each["faults"]]

    assert eventually(faults) == [OWNER_HEADER]
    for who in ("delft", "utrecht"):
        assert ask(who, "GET", "/v1/batches/forged").status_code == 404


def test_topic_permissions_keep_notices_apart(delft):
    for key, allowed in ((notice_key("*", "delft"), True), (EVERY_NOTICE, False), ("batch.*", False)):
        with open_channel(delft) as channel:
            queue = name_of_own()
            channel.queue_declare(queue, exclusive=True)
            with nullcontext() if allowed else pytest.raises(ChannelClosedByBroker, match="ACCESS_REFUSED"):
                channel.queue_bind(queue, NOTIFY_EXCHANGE, key)


def test_a_command_over_amqp_is_only_for_its_own_batches(ask, stack, delft, theirs):
    before = ask("utrecht", "GET", f"/v1/batches/{theirs}").json()
    for action in ("reopen", "drop"):
        for batch in (theirs, ""):
            send(delft, CONTROL, Command(action=action, batch=batch).to_bytes())
    log = stack.state_dir / "logs" / "coordinator.log"
    eventually(lambda: "command for the batch of another owner" in log.read_text())
    assert ask("utrecht", "GET", f"/v1/batches/{theirs}").json() == before


@pytest.mark.parametrize(("path", "allowed"), [
    ("/v1/batches", "GET, POST"), ("/v1/batches/b", "DELETE, GET"), ("/v1/session", "DELETE, GET, POST"),
    ("/v1/batches/b/replay", "POST"), ("/static/", "GET"), ("/v1/plans", "POST"),
])  # fmt: skip
def test_a_method_that_is_not_there_says_which_are(ask, path, allowed):
    refused = ask("utrecht", "PATCH", path)
    assert (refused.status_code, refused.headers["Allow"]) == (405, allowed)


@pytest.mark.parametrize(("path", "given", "place"), [
    ("replay", {"image": False}, "image"), ("replay", {"image": "0"}, "image"), ("replay", {"image": 0.5}, "image"),
    ("plans", {"sizes": [{"width": "10", "height": 10, "count": 1}]}, "sizes[0].width"),
    ("plans", {"sizes": [{"width": True, "height": 10, "count": 1}]}, "sizes[0].width"),
    ("plans", {"budget": "5", "sizes": SIZES}, "budget"),
    ("plans", {"replicas": {"blur": "5"}, "sizes": SIZES}, "replicas.blur"),
])  # fmt: skip
def test_what_is_not_a_number_is_none(ask, theirs, path, given, place):
    """Neither `false` nor a text is one, whatever pydantic makes of them."""
    path, body = ("/v1/plans", BODY | given) if path == "plans" else (f"/v1/batches/{theirs}/replay", given)
    refused = ask("utrecht", "POST", path, json=body)
    assert refused.status_code == 422, refused.text
    assert [fault["place"] for fault in refused.json()["faults"]] == [place]


def test_events_keep_to_their_schema(ask, theirs, gateways):
    document = web.get(f"{gateways[0].url}/openapi.json").json()
    (content,) = document["paths"]["/v1/batches/{batch_id}/events"]["get"]["responses"]["200"]["content"].values()
    schema = {**content["schema"]["contentSchema"], "components": document["components"]}
    lines = ask("utrecht", "GET", f"/v1/batches/{theirs}/events").text.split("\n\n")
    pairs = [dict(line.split(": ", 1) for line in event.splitlines()) for event in lines if "event: " in event]
    events = [{**pair, "data": json.loads(pair["data"])} for pair in pairs]
    assert [event["event"] for event in events] == ["end"]
    jsonschema.validate(events, schema)
