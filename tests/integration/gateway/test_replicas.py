"""Two gateways on one store: what one of them takes in, gives up or refuses does no harm to the other's batches."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http import HTTPStatus

import httpx
import pytest
from tests.integration.gateway.help import ACTIONS, form, picture
from tests.support import web
from tests.support.stopping import stopped
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(180)

POSTS = 20


@contextmanager
def hanging_upload(url, headers, content):
    """A form that is half sent; its connection is cut at the end."""
    request = httpx.Request("POST", f"{url}/process", **content)
    body = request.read()
    begun, cut = threading.Event(), threading.Event()

    def half():
        yield body[: len(body) // 2]
        begun.set()
        cut.wait(60)
        raise ConnectionAbortedError

    def send():
        with pytest.raises(ConnectionAbortedError):
            web.post(request.url, headers={**headers, "Content-Type": request.headers["Content-Type"]}, content=half())

    thread = threading.Thread(target=send)
    thread.start()
    assert begun.wait(30)
    try:
        yield
    finally:
        cut.set()
        thread.join(30)


def uploading(gateway):
    """How many forms are coming in at this gateway."""
    return gateway.metric("muniflow_gateway_uploads")


def test_an_upload_that_was_given_up_leaves_the_retry_at_another_replica_alone(stack, http, own_gateway):
    first, second = own_gateway(), own_gateway()
    headers = {"Idempotency-Key": "hangs at the first"}
    content = form(picture(), picture(1))
    with stopped(stack.pids("resize")):  # so that the images are still needed when the first upload ends
        with hanging_upload(first.url, headers, content):
            eventually(lambda: uploading(first) == 1)
            again = web.post(f"{second.url}/process", headers=headers, **content, timeout=30)
        eventually(lambda: uploading(first) == 0)

    assert again.text == "OK"
    batch = stack.settled(again.headers["X-Batch-Id"])
    assert (batch["state"], batch["done"]) == ("done", 2)
    for name, body in (picture(), picture(1)):
        assert http.get(f"/static/{batch['batch_id']}/sent/{name}").content == body


def test_a_retry_need_not_wait_for_an_upload_that_hangs_at_the_same_replica(stack, own_gateway):
    gateway = own_gateway()
    headers = {"Idempotency-Key": "hangs at the same"}
    with hanging_upload(gateway.url, headers, form(picture())):
        eventually(lambda: uploading(gateway) == 1)
        again = web.post(f"{gateway.url}/process", headers=headers, **form(picture()), timeout=30)
    assert again.text == "OK"
    assert stack.settled(again.headers["X-Batch-Id"])["done"] == 1


def test_one_key_stands_for_one_content_however_many_replicas_are_asked_at_once(stack, http, own_gateway):
    urls = [own_gateway().url, own_gateway().url]
    contents = [form(picture()), form(("street.jpg", picture(1)[1]))]
    headers = {"Idempotency-Key": "two contents"}

    def post(number):
        content = contents[number % 2]
        return web.post(f"{urls[number // 2 % 2]}/process", headers=headers, **content, timeout=60)

    with ThreadPoolExecutor(POSTS) as pool:
        answers = list(pool.map(post, range(POSTS)))

    assert {answer.status_code for answer in answers} == {HTTPStatus.OK, HTTPStatus.UNPROCESSABLE_ENTITY}
    taken = {number % 2 for number, answer in enumerate(answers) if answer.is_success}
    assert len(taken) == 1, "both contents were taken"
    name, body = (picture(), ("street.jpg", picture(1)[1]))[taken.pop()]
    assert [answer.is_success for answer in answers].count(True) == POSTS // 2
    batch = stack.settled(answers[0].headers.get("X-Batch-Id") or answers[1].headers["X-Batch-Id"])
    assert (batch["state"], batch["done"]) == ("done", 1)
    assert http.get(f"/static/{batch['batch_id']}/sent/{name}").content == body


def test_one_batch_id_stands_for_one_content_however_many_posts_come_at_once(http):
    documents = [
        {"batch_id": "twenty-at-once", "images": [f"examples/images/{picture(number)[0]}"], **ACTIONS}
        for number in range(2)
    ]

    def post(number):
        return http.post("/v1/batches", json=documents[number % 2])

    with ThreadPoolExecutor(POSTS) as pool:
        answers = list(pool.map(post, range(POSTS)))

    by_content = [{answer.status_code for answer in answers[start::2]} for start in range(2)]
    assert sorted(by_content, key=min) == [{HTTPStatus.ACCEPTED}, {HTTPStatus.CONFLICT}]
