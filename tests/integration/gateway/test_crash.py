"""Killing the gateway between upload and answer: what was answered is run, what is sent again is run once."""

import os
import random
import signal
import threading
import time

import httpx
import pytest
from tests.integration.gateway.help import form, picture
from tests.support import web
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(180)

KILLS = 3
SENDERS = 4


@pytest.mark.parametrize("place", ["gateway.before_publish", "gateway.after_publish"])
def test_a_request_that_was_cut_and_is_sent_again_is_one_batch(stack, http, own_gateway, place):
    headers = {"Idempotency-Key": f"cut {place}"}
    first = own_gateway(MUNIFLOW_FAILPOINTS=f"{place}=kill")
    with pytest.raises(httpx.TransportError):
        web.post(f"{first.url}/process", headers=headers, **form(picture(), picture(1)))
    assert first.process.wait(60) == -signal.SIGKILL

    again = web.post(f"{own_gateway().url}/process", headers=headers, **form(picture(), picture(1)), timeout=30)

    assert again.text == "OK"
    batch = stack.settled(again.headers["X-Batch-Id"])
    assert (batch["state"], batch["done"]) == ("done", 2)
    newest = http.get("/v1/batches", params={"limit": 50}).json()["batches"]
    assert [each["batch_id"] for each in newest].count(batch["batch_id"]) == 1


def test_random_kills_lose_nothing_that_was_answered(stack, own_gateway):
    """SIGKILL at random moments under four senders: every `OK` is a batch that is done, every retry the same batch."""
    chance = random.Random(6)  # noqa: S311 - moments, no secrets
    gateways = [own_gateway()]
    answered: dict[str, str] = {}
    cut = []
    stopping = threading.Event()

    def sender(number):
        request = 0
        while not stopping.is_set():
            request += 1
            key = f"kills {number} {request}"
            while key not in answered and not stopping.is_set():
                try:
                    answer = web.post(
                        f"{gateways[-1].url}/process",
                        headers={"Idempotency-Key": key},
                        **form(picture(number)),
                        timeout=20,
                    )
                except httpx.TransportError:
                    cut.append(key)
                    time.sleep(0.05)
                    continue
                if answer.text == "OK":
                    answered[key] = answer.headers["X-Batch-Id"]

    threads = [threading.Thread(target=sender, args=(number,)) for number in range(SENDERS)]
    for thread in threads:
        thread.start()
    for _ in range(KILLS):
        before = len(answered)
        eventually(lambda before=before: len(answered) > before + 3)  # type: ignore[misc]
        time.sleep(chance.random() * 0.1)
        os.kill(gateways[-1].process.pid, signal.SIGKILL)
        gateways[-1].process.wait()
        gateways.append(own_gateway())
    eventually(lambda: len(answered) > KILLS * 4, what="answers after the last kill")
    stopping.set()
    for thread in threads:
        thread.join(30)

    states = [(batch := stack.settled(batch_id), batch["state"], batch["done"])[1:] for batch_id in answered.values()]
    assert len(answered) > KILLS * 4
    assert cut
    assert states == [("done", 1)] * len(answered)
    assert len(set(answered.values())) == len(answered)


def test_sigterm_finishes_what_is_coming_in(stack, own_gateway):
    gateway = own_gateway()
    begun, may_end = threading.Event(), threading.Event()
    request = httpx.Request("POST", f"{gateway.url}/process", **form(picture()))
    body = request.read()

    def slowly():
        yield body[:5000]
        begun.set()
        may_end.wait(10)
        yield body[5000:]

    answers = []
    headers = {"Content-Type": request.headers["Content-Type"]}
    thread = threading.Thread(
        target=lambda: answers.append(web.post(f"{gateway.url}/process", headers=headers, content=slowly(), timeout=30))
    )
    thread.start()
    begun.wait(10)
    gateway.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    may_end.set()
    thread.join(30)

    assert answers[0].text == "OK"
    assert gateway.process.wait(20) == 0
    assert stack.settled(answers[0].headers["X-Batch-Id"])["done"] == 1
