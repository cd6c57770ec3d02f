"""A broker that takes no messages, seen through the gateway: who asks is told so, and nothing runs twice afterwards."""

import pytest
from tests.integration.gateway.help import form, picture
from tests.support import web
from tests.support.stopping import stopped
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(180)

TELLS = "takes no messages: low on memory"


def refusal(answer):
    """What a 503 says, after a look at its form."""
    assert answer.status_code == 503, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert int(answer.headers["Retry-After"]) >= 1
    return answer.json()["detail"]


def test_an_alarm_is_a_503_and_what_is_sent_again_is_one_batch(stack, own_gateway, low_memory):
    gateway = own_gateway(MUNIFLOW_PUBLISH_TIMEOUT_S="2")
    headers = {"Idempotency-Key": "alarm"}
    request = form(picture(), picture(1))
    with low_memory():
        # RabbitMQ tells only who publishes: the first one waits for its confirm, and it is not known whether it counts.
        assert TELLS in refusal(web.post(f"{gateway.url}/process", headers=headers, **request, timeout=30))
        # From then on nobody uploads in vain.
        before = web.post(f"{gateway.url}/process", headers=headers, **request, timeout=1.5)
        assert TELLS in refusal(before)
        assert TELLS in refusal(web.get(f"{gateway.url}/readyz"))
        assert web.get(f"{gateway.url}/livez").is_success
        assert web.get(f"{gateway.url}/v1/batches").is_success, "reading needs no broker"
    eventually(gateway.ready)

    again = web.post(f"{gateway.url}/process", headers=headers, **request, timeout=30)

    assert again.text == "OK"
    batch = stack.settled(again.headers["X-Batch-Id"])
    assert (batch["state"], batch["done"]) == ("done", 2)
    newest = web.get(f"{gateway.url}/v1/batches", params={"limit": 50}).json()["batches"]
    assert [each["batch_id"] for each in newest].count(batch["batch_id"]) == 1


def test_a_batch_at_work_says_what_it_waits_for_and_ends_by_itself(stack, http, low_memory):
    # The workers stand still meanwhile: it must not be done before the alarm is there.
    with stopped(process.identity.pid for process in stack.state.processes if process.role == "worker"):
        answer = http.post("/v1/batches", **form(*(picture(number) for number in range(40))))
        assert answer.status_code == 202
        batch_id = answer.json()["batch_id"]
        with low_memory():
            eventually(lambda: "low on memory" in (http.get(f"/v1/batches/{batch_id}").json()["waiting_for"] or ""))
    assert stack.settled(batch_id)["done"] == 40
