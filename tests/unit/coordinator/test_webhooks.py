"""The ends of batches, told to URLs: recorded, signed, sent again, given up; and nothing waits for a receiver."""

import base64
import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from muniflow.errors import Invalid
from muniflow_coordinator.api.webhooks import WebhookAnswers
from muniflow_coordinator.settings import CoordinatorSettings
from muniflow_coordinator.webhooks import courier
from muniflow_coordinator.webhooks.config import WebhookConfig, read_config
from muniflow_coordinator.webhooks.policy import WebhookPolicy
from muniflow_coordinator.webhooks.sender import SendFailure

if TYPE_CHECKING:
    from tests.unit.coordinator.conftest import CoordinatorHarness

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
OTHER = "whsec_" + base64.b64encode(b"o" * 32).decode()
URL = "https://hooks.example.org/ended?for=utrecht"
REFUSED = SendFailure("answer_refused", "answered 500")


def config(tmp_path: Path, owners: Any = None, **settings: Any) -> WebhookConfig:
    file = tmp_path / "webhooks.json"
    file.write_text(json.dumps({"default": {"secrets": [SECRET]}} if owners is None else owners))
    given = {"webhook_hosts": "hooks.example.org, slow.example.org:8443", "webhooks_file": str(file)}
    return read_config(CoordinatorSettings(**given | settings))


class Receiver:
    """Takes the place of the network."""

    def __init__(self, *answers: SendFailure | None) -> None:
        self.answers = list(answers)
        self.got: list[tuple[str, Mapping[str, str], bytes]] = []

    def send(self, url: str, headers: Mapping[str, str], body: bytes) -> SendFailure | None:
        self.got.append((url, headers, body))
        return self.answers.pop(0) if self.answers else None


@pytest.fixture
def receiver(harness: "CoordinatorHarness", tmp_path: Path) -> Receiver:
    made = Receiver()
    harness.webhooks, harness.send = config(tmp_path), made.send
    return made


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST_PAUSE_S", "HOST_PAUSE_S", "TICK_S"):
        monkeypatch.setattr(courier, name, 0.01)


def left(harness: "CoordinatorHarness") -> list[Any]:
    assert harness.state
    return harness.state.webhooks()


def counted(harness: "CoordinatorHarness") -> dict[str, float]:
    parts = {"sent": harness.metrics.webhooks_sent, "dead": harness.metrics.webhooks_dead}
    return {name: counter._value.get() for name, counter in parts.items()}


def test_the_end_of_a_batch_is_told_signed_as_a_cloud_event(harness: "CoordinatorHarness", receiver: Receiver) -> None:
    harness.pictures(2)
    harness.start()
    harness.submit(callback=URL, municipality="Utrecht")
    harness.finish()
    harness.until(lambda: receiver.got and not left(harness))
    [(url, headers, body)] = receiver.got
    assert url == URL
    assert Webhook(SECRET).verify(body, dict(headers)) == json.loads(body)
    with pytest.raises(WebhookVerificationError):
        Webhook(OTHER).verify(body, dict(headers))
    assert headers["Content-Type"] == "application/cloudevents+json; charset=utf-8"
    event = json.loads(body)
    assert (event["specversion"], event["type"], event["subject"]) == ("1.0", "muniflow.batch.done", "b")
    assert (event["id"], event["source"]) == (headers["webhook-id"], "/muniflow/batches")
    data = event["data"]
    assert (data["batch"], data["state"], data["total"], data["municipality"]) == ("b", "done", 2, "Utrecht")
    assert counted(harness) == {"sent": 1, "dead": 0}


def test_what_is_not_taken_is_sent_again_with_the_same_id(harness: "CoordinatorHarness", receiver: Receiver) -> None:
    receiver.answers = [REFUSED, SendFailure("timed_out", "no answer"), None]
    harness.pictures(1)
    harness.start()
    harness.submit(callback=URL)
    harness.until(lambda: len(receiver.got) == 3 and not left(harness))
    assert len({headers["webhook-id"] for _, headers, _ in receiver.got}) == 1
    assert len({body for _, _, body in receiver.got}) == 1


def test_a_restart_sends_what_was_not_taken_and_a_replay_is_another_event(
    harness: "CoordinatorHarness", receiver: Receiver, answers: dict[str, Any]
) -> None:
    receiver.answers = [REFUSED] * 10_000
    harness.pictures(2)
    harness.answer = answers["failed"]
    harness.start()
    harness.submit(callback=URL)
    harness.finish()
    harness.until(lambda: receiver.got)
    harness.crash()
    first = receiver.got[-1]
    receiver.answers.clear()
    receiver.got.clear()
    harness.start()
    harness.until(lambda: receiver.got and not left(harness))
    assert receiver.got[0][1]["webhook-id"] == first[1]["webhook-id"]
    harness.answer = answers["all_done"]
    harness.command("reopen")
    harness.until(lambda: json.loads(receiver.got[-1][2])["type"] == "muniflow.batch.done")
    assert receiver.got[-1][1]["webhook-id"] != first[1]["webhook-id"]


def hanging(release: threading.Event, got: list[str]) -> Callable[..., SendFailure | None]:
    def send(url: str, _headers: Mapping[str, str], _body: bytes) -> SendFailure | None:
        if "slow" in url:
            release.wait()
        got.append(url)
        return None

    return send


def test_a_receiver_that_hangs_keeps_nobody_waiting(harness: "CoordinatorHarness", tmp_path: Path) -> None:
    release, got = threading.Event(), list[str]()
    harness.webhooks, harness.send = config(tmp_path), hanging(release, got)
    try:
        harness.pictures(1)
        harness.start()
        for number in range(20):
            harness.submit(batch_id=f"slow{number}", callback="https://slow.example.org:8443/")
        harness.submit(batch_id="fast", callback=URL)
        for batch in ("fast", "slow0", "slow19"):
            assert harness.finish(batch).state == "done"
        assert harness.coordinator is not None
        courier = harness.coordinator.courier
        harness.until(lambda: got == [URL] and not any(host.startswith("hooks.") for host in courier._busy))
        assert len(courier._busy) == 1, "of the host that hangs, one attempt"
        harness.crash()  # does not wait for it, either
        assert got == [URL]
    finally:
        release.set()


def test_one_that_is_too_old_or_refused_for_good_is_given_up_and_listed(
    harness: "CoordinatorHarness", tmp_path: Path
) -> None:
    receiver = Receiver(*[REFUSED] * 3, SendFailure("gone", "answered 410", final=True))
    harness.webhooks, harness.send = config(tmp_path, webhook_max_age_hours=1e-5), receiver.send
    harness.pictures(1)
    harness.start()
    harness.submit(callback=URL)
    harness.until(lambda: any(row.dead_at for row in left(harness)))
    harness.webhooks = config(tmp_path)
    receiver.answers = [SendFailure("gone", "answered 410", final=True)]
    harness.crash()
    harness.start()
    harness.submit(batch_id="gone", callback=URL)
    harness.until(lambda: [row.dead_at is None for row in left(harness)] == [False, False])
    assert [(row.batch, row.code) for row in left(harness)] == [("gone", "gone"), ("b", left(harness)[1].code)]
    assert left(harness)[1].code in {"answer_refused", "too_old"}
    assert counted(harness)["dead"] == 1
    assert harness.state
    [last, first] = WebhookAnswers(harness.state).webhooks({}).webhooks
    assert (last.batch_id, last.reason_code, last.next_at, last.attempts) == ("gone", "gone", None, 1)
    assert first.url == "https://hooks.example.org/ended", "a query may hold a secret"
    assert WebhookAnswers(harness.state).webhooks({"owner": "nobody"}).webhooks == ()


def test_an_owner_has_an_address_of_its_own(harness: "CoordinatorHarness", tmp_path: Path) -> None:
    owners = {"utrecht": {"url": "https://hooks.example.org/utrecht", "secrets": [OTHER, SECRET]}}
    receiver = Receiver()
    harness.webhooks, harness.send = config(tmp_path, owners), receiver.send
    harness.pictures(1, "utrecht")
    harness.pictures(1)
    harness.start()
    harness.submit(batch_id="none")
    harness.submit(source="utrecht", sender={"user_id": "utrecht"})
    harness.finish()
    harness.finish("none")
    harness.until(lambda: receiver.got and not left(harness))
    [(url, headers, body)] = receiver.got
    assert url == "https://hooks.example.org/utrecht"
    for secret in (SECRET, OTHER):  # while one replaces the other
        Webhook(secret).verify(body, dict(headers))


@pytest.mark.parametrize(("hosts", "secrets", "url", "text"), [
    ("", [SECRET], URL, "MUNIFLOW_WEBHOOK_HOSTS"),
    ("hooks.example.org", [], URL, "MUNIFLOW_WEBHOOKS_FILE"),
    ("hooks.example.org", [SECRET], "https://evil.example.org/", "host_not_allowed"),
    ("hooks.example.org", [SECRET], "https://hooks.example.org:8443/", "host_not_allowed"),
    ("hooks.example.org:80", [SECRET], "http://hooks.example.org/", "scheme_not_allowed"),
    ("hooks.example.org", [SECRET], "https://me:secret@hooks.example.org/", "without a user"),
    ("hooks.example.org", [SECRET], "file:///etc/passwd", "write https://"),
])  # fmt: skip
def test_a_callback_that_is_not_allowed_is_refused_with_the_batch(  # noqa: PLR0917 - a table
    harness: "CoordinatorHarness", tmp_path: Path, hosts: str, secrets: list[str], url: str, text: str
) -> None:
    owners = {"default": {"secrets": secrets}} if secrets else {}
    harness.webhooks = config(tmp_path, owners, webhook_hosts=hosts)
    harness.pictures(1)
    harness.start()
    harness.submit(callback=url, weight=1)
    harness.until(lambda: harness.notices)
    assert [fault["place"] for fault in harness.notices[0].faults] == ["callback"]
    assert text in harness.notices[0].faults[0]["problem"]


def test_nothing_is_told_where_nobody_asked(harness: "CoordinatorHarness", receiver: Receiver) -> None:
    harness.pictures(1)
    harness.start()
    harness.submit()
    harness.finish()
    harness.submit(callback=URL)  # another one who is told does not make another batch of it
    harness.until(lambda: harness.notices[-1].already_run_at is not None)
    assert receiver.got == left(harness) == []


@pytest.mark.parametrize("entry", [
    {"secrets": []}, {"secrets": ["whsec_c2hvcnQ="]}, {"secrets": ["hunter2" * 9]}, {"secrets": SECRET},
    {"secrets": [SECRET], "token": SECRET}, {"secrets": [SECRET], "url": "https://other.example.org/"},
    {"secrets": [SECRET], "url": "http://hooks.example.org/"},
])  # fmt: skip
def test_a_wrong_file_is_refused_without_its_secrets(tmp_path: Path, entry: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match="MUNIFLOW_WEBHOOKS_FILE") as caught:
        config(tmp_path, {"utrecht": entry})
    for secret in (SECRET, "c2hvcnQ", "hunter2"):
        assert secret not in str(caught.value)


def test_secrets_are_in_no_text_of_the_settings(tmp_path: Path) -> None:
    read = config(tmp_path)
    assert read.is_on
    for text in (repr(read), repr(read.owners)):
        assert "kkkk" not in text
        assert SECRET not in text


@pytest.mark.parametrize(("setting", "value", "text"), [
    ("webhook_hosts", "https://hooks.example.org", "WEBHOOK_HOSTS"),
    ("webhook_hosts", "hooks.example.org/path", "WEBHOOK_HOSTS"),
    ("webhook_hosts", "*.example.org", "WEBHOOK_HOSTS"),
    ("webhook_hosts", "me@hooks.example.org", "WEBHOOK_HOSTS"),
    ("webhook_networks", "10.0.0.1/8", "WEBHOOK_NETWORKS"),
    ("webhook_networks", "0.0.0.0/0", "loopback or link-local"),
    ("webhook_networks", "169.254.169.254/32", "loopback or link-local"),
    ("webhook_networks", "::/0", "loopback or link-local"),
    ("webhooks_file", "/nowhere/webhooks.json", "cannot be read"),
])  # fmt: skip
def test_a_wrong_setting_is_refused_at_start(tmp_path: Path, setting: str, value: str, text: str) -> None:
    with pytest.raises(Invalid, match=text):
        config(tmp_path, **{setting: value})


def test_there_are_no_webhooks_by_default() -> None:
    assert read_config(CoordinatorSettings()) == WebhookConfig()
    assert not WebhookConfig().is_on
    assert WebhookPolicy(frozenset()).hosts == frozenset()
