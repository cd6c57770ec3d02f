"""The API against a whole stack: broker, coordinator, workers and gateway as processes."""

import asyncio
import io
import json
import zipfile
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import numpy as np
import pytest
from multidict import MultiDict
from tests.integration.gateway.help import ACTIONS, PICTURES, ROUTE, form, picture
from tests.support import web
from tests.support.stopping import stopped
from tests.support.waiting import eventually
from tests.unit.images import craft

from muniflow.images.opencv import cv2

pytestmark = pytest.mark.timeout(180)
DAMAGED = craft.jpeg(craft.photo(64, 48))[:-200] + b"\xff\xd9"
"""What a gateway takes and a worker refuses."""


def decoded(body):
    return cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_UNCHANGED)


async def predecessors_client(stack):
    postdata = json.dumps(ROUTE)
    first, second = PICTURES[:2]

    # As its users have it, but for the port where another program has 8080.
    async with aiohttp.ClientSession() as session:
        data = MultiDict([("actions", postdata), ("files", first.open("rb")), ("files", second.open("rb"))])
        resp = await session.post(stack.url.replace("127.0.0.1", "localhost") + "/process", data=data)
        assert await resp.content.read() == b"OK"
        assert resp.status == 200

    return resp


def test_the_predecessors_client(stack):
    resp = asyncio.run(predecessors_client(stack))

    batch = stack.settled(resp.headers["X-Batch-Id"])
    assert resp.headers["Location"] == f"/v1/batches/{batch['batch_id']}"
    assert (batch["state"], batch["done"]) == ("done", 2)


def test_results_and_the_images_sent_can_be_looked_through(stack, http):
    name, body = picture()
    sent = http.post("/process", **form((name, body), actions=ROUTE))
    batch_id = sent.headers["X-Batch-Id"]
    stack.settled(batch_id)
    stem = name.rpartition(".")[0]

    listing = http.get(f"/static/{batch_id}/")
    assert listing.headers["Content-Type"] == "text/html; charset=utf-8"
    assert [f"{stem}-{number}.jpg" in listing.text for number in range(5)] == [True] * 4 + [False]
    assert f'<a href="{batch_id}/">' in http.get("/static/").text
    assert name in http.get(f"/static/{batch_id}/sent/").text

    tile = http.get(f"/static/{batch_id}/{stem}-0.jpg")
    assert tile.headers["Content-Type"] == "image/jpeg"
    assert tile.headers["X-Content-Type-Options"] == "nosniff"
    assert decoded(tile.content).shape == (150, 100, 3)
    assert http.get(f"/static/{batch_id}/sent/{name}").content == body
    assert http.get(f"/static/{batch_id}/report.json").json()["state"] == "done"


def test_a_running_batch_is_waited_for(http):
    name, body = picture()
    files = [(f"{number}.{name.rpartition('.')[2]}", body) for number in range(30)]
    batch_id = http.post("/v1/batches", **form(*files, actions=ROUTE)).json()["batch_id"]
    ended = http.get(f"/v1/batches/{batch_id}", params={"wait": "60"}).json()
    assert (ended["state"], ended["done"]) == ("done", 30)
    assert http.get(f"/v1/batches/{batch_id}?wait=60").json() == ended, "at once, of one that has ended"
    assert http.get(f"/v1/batches/{batch_id}?wait=-1").status_code == 422


def test_equal_names_and_many_requests_at_once_never_touch_each_other(stack):
    def send(number):
        with web.Client(base_url=stack.url, timeout=60) as client:
            answer = client.post("/process", **form(("a.jpg", picture(number)[1]), ("a.jpg", picture(number + 1)[1])))
        assert answer.text == "OK"
        return answer.headers["X-Batch-Id"]

    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(send, range(12)))

    assert len(set(ids)) == 12
    reports = [stack.settled(batch_id) for batch_id in ids]
    assert [(batch["state"], batch["done"]) for batch in reports] == [("done", 2)] * 12
    for number, batch_id in enumerate(ids[:6]):
        for name, sent in (("a.jpg", picture(number)[1]), ("a_2.jpg", picture(number + 1)[1])):
            assert web.get(f"{stack.url}/static/{batch_id}/sent/{name}").content == sent


def test_the_batch_instead_of_ok(stack, http):
    batch = http.post("/process", headers={"Accept": "application/json"}, **form(picture())).json()

    assert batch["links"]["self"] == f"/v1/batches/{batch['batch_id']}"
    assert stack.settled(batch["batch_id"])["state"] == "done"


@pytest.mark.parametrize(
    ("actions", "files", "places"),
    [
        (
            {"operations": [["rotate", 90], ["resize", "big"]]},
            [("a.txt", b"text")],
            ["files[0]", "operations[0]", "operations[1]"],
        ),
        ({"operations": []}, [picture()], ["operations"]),
        ({}, [picture()], ["operations"]),
        ({**ACTIONS, "output": "bmp"}, [picture()], ["output"]),
        ({**ACTIONS, "colour": 1}, [picture()], ["colour"]),
        (ACTIONS, [("a.jpg", b"")], ["files[0]"]),
    ],
)
@pytest.mark.parametrize("path", ["/process", "/v1/batches", "/v1/process"])
def test_wrong_input_is_refused_with_every_fault_by_its_place(http, path, actions, files, places):
    answer = http.post(path, **form(*files, actions=actions))

    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert [fault["place"] for fault in answer.json()["faults"]] == places


def test_a_json_batch_that_names_images_in_the_store(stack, http):
    document = {
        "batch_id": "from-the-store",
        "municipality": "Zwolle & co",
        "source": "examples/images/",
        "operations": [["resize", "50%"], ["split", "2x1"]],
        "output": "png",
    }
    answer = http.post("/v1/batches", json=document)
    assert answer.status_code == 202
    assert answer.headers["Location"] == "/v1/batches/from-the-store"
    batch = stack.settled("from-the-store")
    assert (batch["state"], batch["total"], batch["outputs_per_image"]) == ("done", len(PICTURES), 2)

    assert http.post("/v1/batches", json=document).status_code == 202  # the same batch, not run again
    other = http.post("/v1/batches", json={**document, "output": "jpg"})
    assert other.status_code == 409
    assert [fault["place"] for fault in other.json()["faults"]] == ["batch_id"]
    missing = http.post("/v1/batches", json={"manifest": "none.txt", "operations": [["resize", "50%"]]})
    assert (missing.status_code, missing.json()["faults"][0]["place"]) == (409, "manifest")

    page = http.get("/v1/batches", params={"municipality": "Zwolle & co", "state": "done", "limit": 1}).json()
    assert [each["batch_id"] for each in page["batches"]] == ["from-the-store"]
    images = http.get("/v1/batches/from-the-store/images", params={"limit": 4}).json()
    assert len(images["images"]) == 4
    rest = http.get("/v1/batches/from-the-store/images", params={"after": images["next"]}).json()
    assert [image["image"] for image in images["images"] + rest["images"]] == list(range(len(PICTURES)))
    first = images["images"][0]
    assert http.get(first["source_url"]).content == PICTURES[0].read_bytes()
    assert http.get(first["output_urls"][1]).headers["Content-Type"] == "image/png"
    assert http.get(first["output_urls"][1][:-1] + "2").status_code == 404
    outputs = http.get("/v1/batches/from-the-store/outputs").json()["outputs"]
    assert [output["index"] for output in outputs[:4]] == [0, 1, 0, 1]
    assert http.get("/v1/batches/from-the-store/report").json()["totals"]["outputs"] == 2 * len(PICTURES)
    archive = zipfile.ZipFile(io.BytesIO(http.get("/v1/batches/from-the-store/outputs.zip").content))
    assert archive.testzip() is None
    assert len(archive.namelist()) == 2 * len(PICTURES)


def test_pages_of_batches_have_every_batch_once(http):
    seen = []
    after = None
    while True:
        query = {"limit": 5} if after is None else {"limit": 5, "after": after}
        page = http.get("/v1/batches", params=query).json()
        # A refused batch may name the id of another one.
        seen += [batch["batch_id"] for batch in page["batches"] if batch["state"] != "rejected"]
        after = page["next"]
        if after is None:
            break

    assert len(seen) == len(set(seen)) >= 5


@pytest.mark.parametrize("path", ["/v1/batches", "/v1/stages", "/v1/batches/none/images"])
def test_no_parameter_of_a_query_is_given_twice(http, path):
    answer = http.get(f"{path}?limit=1&owner=a&limit=2")
    assert answer.status_code == 422, answer.text
    assert [fault["place"] for fault in answer.json()["faults"]] == ["limit"]


def test_the_result_itself_for_a_person_in_a_hurry(http):
    one = http.post("/v1/process", **form(picture()))
    assert (one.status_code, one.headers["Content-Type"]) == (200, "image/jpeg")
    assert decoded(one.content).shape == (48, 64, 3)

    several = http.post("/v1/process?wait=30", **form(picture(), actions=ROUTE))
    assert several.headers["Content-Type"] == "application/zip"
    assert len(zipfile.ZipFile(io.BytesIO(several.content)).namelist()) == 4

    broken = ("damaged.jpg", DAMAGED)
    for pictures in ((picture(), broken), (picture(), broken, picture())):
        partial = http.post("/v1/process?wait=30", **form(*pictures))
        assert partial.status_code == 207, partial.text
        assert (partial.headers["X-Batch-State"], partial.headers["Content-Type"]) == ("partial", "application/zip")
        archive = zipfile.ZipFile(io.BytesIO(partial.content))
        assert len(archive.namelist()) == len(pictures)
        report = json.loads(archive.read("report.json"))
        assert [image["state"] for image in report["images"]].count("failed") == 1

    late = http.post("/v1/process?wait=0", **form(picture()))
    assert late.status_code in {200, 202}
    assert late.headers["Location"].startswith("/v1/batches/")

    name, body = picture()
    failed = http.post("/v1/process", **form((name, body[: len(body) // 2])))
    assert failed.status_code == 422, failed.text
    assert failed.json()["faults"][0]["place"] == name


def test_failed_images_are_replayed_once_their_source_is_mended(stack, http):
    name, body = picture(2)
    batch_id = http.post("/v1/batches", **form(picture(0), (name, body[: len(body) // 2]))).json()["batch_id"]
    assert stack.settled(batch_id)["state"] == "partial"
    (failed,) = http.get(f"/v1/batches/{batch_id}/images", params={"state": "failed"}).json()["images"]
    assert "truncated" in failed["reasons"][0]

    (stack.folder / failed["source"]).write_bytes(body)
    asked = http.post(f"/v1/batches/{batch_id}/replay", json={"image": failed["image"]})

    assert (asked.status_code, asked.json()["images"]) == (202, 1)
    eventually(lambda: http.get(f"/v1/batches/{batch_id}").json()["state"] == "done")
    assert http.post(f"/v1/batches/{batch_id}/replay").status_code == 409
    assert http.post("/v1/batches/none/replay").status_code == 404


def test_a_batch_is_cancelled(stack, http):
    with stopped(stack.pids("resize")):  # it must not end by itself before
        batch_id = http.post("/v1/batches", **form(*[picture(0)] * 40)).json()["batch_id"]
        eventually(lambda: http.get(f"/v1/batches/{batch_id}").json()["state"] == "running")
        assert http.delete(f"/v1/batches/{batch_id}").status_code == 202
    batch = stack.settled(batch_id)

    assert batch["state"] == "cancelled"
    assert batch["cancelled"] > 0
    assert http.delete(f"/v1/batches/{batch_id}").status_code == 200
    assert http.delete("/v1/batches/none").status_code == 404


def test_events_tell_of_every_change_until_the_end(http):
    batch_id = http.post("/v1/batches", **form(*[picture(n) for n in range(60)], actions=ROUTE)).json()["batch_id"]

    names, states = [], []
    with http.stream("GET", f"/v1/batches/{batch_id}/events") as stream:
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        for line in stream.iter_lines():
            if line.startswith("event: "):
                names.append(line.removeprefix("event: "))
            elif line.startswith("data: "):
                states.append(json.loads(line.removeprefix("data: ")))

    assert names[-1] == "end"
    assert set(names[:-1]) == {"progress"}
    assert (states[-1]["state"], states[-1]["done"]) == ("done", 60)
    assert [state["done"] for state in states] == sorted(state["done"] for state in states)
    assert http.get("/v1/batches/none/events").status_code == 404


def test_the_pipeline_shows_itself(http):
    stages = {stage["op"]: stage for stage in http.get("/v1/stages").json()["stages"]}
    assert set(stages) == {"blur", "resize", "split"}
    assert stages["blur"]["consumers"] >= 1

    operations = {each["name"]: each for each in http.get("/v1/operations").json()["operations"]}
    assert set(operations) == set(stages)
    assert ["blur", "median"] in operations["blur"]["examples"]
    assert "columns" in operations["split"]["parameters"]["properties"]
    assert http.get("/livez").json() == {"status": "ok"}
    ready = http.get("/readyz").json()
    assert ready["status"] == "ok"
    assert ready["access"].startswith("MUNIFLOW_GATEWAY_OPEN=true: ")


def test_the_same_idempotency_key_is_the_same_batch(stack, http):
    headers = {"Idempotency-Key": "street-7"}
    first = http.post("/v1/batches", headers=headers, **form(picture(), actions=ROUTE)).json()
    again = http.post("/v1/batches", headers=headers, **form(picture(), actions=ROUTE)).json()
    other = http.post("/v1/batches", headers=headers, **form(picture(1), actions=ROUTE))

    assert first["batch_id"] == again["batch_id"]
    assert (other.status_code, other.json()["faults"][0]["place"]) == (422, "Idempotency-Key")
    assert stack.settled(first["batch_id"])["done"] == 1
    assert http.get(f"/static/{first['batch_id']}/sent/{picture()[0]}").content == picture()[1]
    document = {"images": [f"examples/images/{PICTURES[0].name}"], **ACTIONS}
    ids = {
        http.post("/v1/batches", headers={"Idempotency-Key": "j"}, json=document).json()["batch_id"] for _ in range(2)
    }
    assert len(ids) == 1


def test_keys_quotas_and_the_browser_session(own_gateway, tmp_path):
    from muniflow_gateway.auth.api_keys import make_key, revoke_key

    path = tmp_path / "keys"
    secret = make_key(path, "utrecht", {"requests_per_minute": 30, "megapixels_per_hour": 1})
    poor = make_key(path, "poor", {"mebibytes_per_hour": 1})
    gateway = own_gateway(MUNIFLOW_API_KEYS_FILE=str(path))
    with web.Client(base_url=gateway.url, timeout=30) as client:
        assert client.get("/v1/batches").status_code == 401
        assert client.post("/process", **form(picture())).status_code == 401
        assert client.get("/static/").status_code == 401
        assert client.get("/").status_code == client.get("/readyz").status_code == 200

        client.headers["Authorization"] = f"Bearer {secret}"
        assert client.post("/process", **form(picture())).text == "OK"
        big = cv2.imencode(".jpg", np.zeros((1200, 1200, 3), np.uint8))[1].tobytes()
        over = client.post("/process", **form(("big.jpg", big)))
        assert (over.status_code, "pixels" in over.json()["detail"]) == (429, True)
        assert int(over.headers["Retry-After"]) > 60
        answers = [client.get("/v1/session") for _ in range(40)]
        assert {answer.status_code for answer in answers} == {200, 429}
        setting = "`requests_per_minute` of the key, or MUNIFLOW_REQUESTS_PER_MINUTE"
        assert answers[-1].json()["detail"] == f"the quota of requests of this key is used up ({setting})"

        client.headers["Authorization"] = f"Bearer {poor}"
        name, body = picture()
        assert [client.post("/process", **form((name, body), (name, body))).status_code for _ in range(3)][-1] == 429

        del client.headers["Authorization"]
        assert client.post("/v1/session", json={"key": "wrong"}).status_code == 401
        signed = client.post("/v1/session", json={"key": poor})
        assert "HttpOnly" in signed.headers["Set-Cookie"]
        assert "SameSite=strict" in signed.headers["Set-Cookie"]
        session = client.get("/v1/session").json()
        assert (session["name"], session["needs_key"], session["owner"]) == ("poor", True, "default")
        assert session["scopes"] == ["submit", "read", "operate", "urgent"]
        assert client.delete("/v1/batches/x", headers={"Origin": "http://evil.example"}).status_code == 403
        revoke_key(path, "poor")
        # The file is looked at once a second.
        eventually(lambda: client.get("/v1/session").status_code == 401, what="the session ends", every_s=0.3)
    assert "an API key is asked for" in gateway.log.read_text()


def test_a_gateway_that_is_not_open_serves_nobody_without_a_key(own_gateway):
    gateway = own_gateway(host="0.0.0.0", MUNIFLOW_GATEWAY_OPEN="false")  # noqa: S104 - that is what is tried

    assert web.get(f"{gateway.url}/v1/batches").status_code == 401
    assert "nobody is served" in web.get(f"{gateway.url}/readyz").json()["access"]


def test_a_full_backlog_is_told_with_a_time_to_come_again(stack, http, own_gateway):
    gateway = own_gateway(MUNIFLOW_MAX_BACKLOG_IMAGES="1")
    with stopped(stack.pids("resize")):
        running = http.post("/v1/batches", **form(*[picture(0)] * 4)).json()["batch_id"]
        eventually(lambda: http.get(f"/v1/batches/{running}").json()["in_flight"] > 1)

        answer = web.post(f"{gateway.url}/process", **form(picture()))

    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) >= 1
    assert "are waiting" in answer.json()["detail"]
    stack.settled(running)
