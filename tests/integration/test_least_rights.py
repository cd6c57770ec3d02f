"""Each service with a store key of its own that allows what `muniflow.store.rights` says: enough to work, and no more.

All secrets come to these processes in files, as the chart gives them.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.integration.gateway.help import OwnGateway, form, picture
from tests.support import web
from tests.support.coordinators import CoordinatorProcess
from tests.support.guarded_s3 import ABORT, DELETE, LIST, READ, WRITE, GuardedS3, Policy, guarded_s3
from tests.support.waiting import eventually, run_until

from muniflow.errors import NotFound, Unavailable
from muniflow.model.keys import intermediate_key
from muniflow.model.lineage import WHOLE
from muniflow.model.messages import TERMINAL
from muniflow.model.topology import Topology
from muniflow.runtime.key_files import rotate_keys
from muniflow.runtime.loop import new_loop
from muniflow.runtime.settings import BrokerSettings, read_env, to_env
from muniflow.store import Store, open_store
from muniflow.store.policies import s3_bucket_policies, s3_policy
from muniflow.store.rights import RIGHTS, ROOTS, Root
from muniflow.transport.rabbitmq import RabbitTransport

USERS = {"coordinator": "coordinator", "gateway": "gateway", "step-resize": "step", "step-split": "step"}
"""The service of each part."""
URLS: Mapping[Root, str] = {root: f"s3://{root}" for root in ROOTS}
ACTIONS = {"read": {READ}, "list": {LIST}, "write": {WRITE}, "delete": {DELETE}, "absent": set[str]()}
ROUTE = [["resize", "64x48"], ["split", True]]

pytestmark = pytest.mark.timeout(180)


def built_in_policy(service: str) -> Policy:
    """The policies of the built-in server's buckets, as far as they are about this service."""
    buckets = s3_bucket_policies(URLS, {service: [service]})
    return {"Statement": [statement for policy in buckets.values() for statement in policy["Statement"]]}


@pytest.fixture(params=["amazon", "builtin"])
def s3(request: pytest.FixtureRequest) -> Iterator[GuardedS3]:
    with guarded_s3() as s3:
        s3.tells_absent = request.param == "builtin"
        policy_of = built_in_policy if s3.tells_absent else partial(s3_policy, roots=URLS)
        s3.policies = {part: policy_of(service) for part, service in USERS.items()}
        s3.policies["root"] = {
            "Statement": [{"Effect": "Allow", "Action": [READ, LIST, WRITE, DELETE, ABORT], "Resource": "*"}]
        }
        for root in ROOTS:
            assert web.request("PUT", f"{s3.url}/{root}").is_success
        yield s3


Environment = Callable[[str], dict[str, str]]


@pytest.fixture
def environment(broker: BrokerSettings, s3: GuardedS3, tmp_path: Path) -> Environment:
    """The variables of a part, whose secrets are in files."""
    place = urlsplit(broker.amqp_url)
    keys = tmp_path / "signing.pem", tmp_path / "verify.pem"
    rotate_keys(*keys)

    def made(part: str) -> dict[str, str]:
        folder = tmp_path / "secrets" / part
        folder.mkdir(parents=True)
        for name, value in {
            "AWS_ACCESS_KEY_ID": part,
            "AWS_SECRET_ACCESS_KEY": "of the test",
            "MUNIFLOW_AMQP_USERNAME": str(place.username),
            "MUNIFLOW_AMQP_PASSWORD": str(place.password),
            "MUNIFLOW_DATABASE_URL": f"sqlite:///{tmp_path / 'state.sqlite'}",
        }.items():
            (folder / name).write_text(f"{value}\n")
            (folder / name).chmod(0o400)
        return {
            "MUNIFLOW_SECRETS_DIR": str(folder),
            "MUNIFLOW_AMQP_URL": f"amqp://{place.hostname}:{place.port}{place.path}",
            "AWS_ENDPOINT_URL": s3.url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "MUNIFLOW_SIGNING_KEY_FILE": str(keys[0]),
            "MUNIFLOW_VERIFY_KEYS_FILE": str(keys[1]),
            **{f"MUNIFLOW_{root.upper()}_URL": url for root, url in URLS.items()},
        }

    return made


@contextmanager
def workers(environment: Environment, folder: Path) -> Iterator[None]:
    running = []
    for operation in ("resize", "split"):
        with (folder / f"{operation}.log").open("wb") as log:
            running.append(
                subprocess.Popen(
                    [sys.executable, "-m", f"muniflow_{operation}"],
                    env={**os.environ, **environment(f"step-{operation}")},
                    stdout=log, stderr=log, start_new_session=True,
                )
            )  # fmt: skip
    try:
        yield
    finally:
        for process in running:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def gateway(environment: Environment, tmp_path: Path) -> Iterator[OwnGateway]:
    coordinator = CoordinatorProcess(tmp_path, environment("coordinator")).start()
    own = {"MUNIFLOW_GATEWAY_OPEN": "true", "MUNIFLOW_COORDINATOR_URL": f"http://127.0.0.1:{coordinator.port}"}
    made = OwnGateway.start({**os.environ, **environment("gateway"), **own}, tmp_path / "gateway", {})
    try:
        with workers(environment, tmp_path):
            eventually(lambda: coordinator.leads and made.ready(), what=coordinator.log.read_text)
            yield made
    finally:
        made.kill()
        coordinator.kill()


def store_of(s3: GuardedS3, monkeypatch: pytest.MonkeyPatch, user: str, root: Root) -> Store:
    for name, value in {
        "AWS_ACCESS_KEY_ID": user, "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": s3.url, "AWS_ALLOW_HTTP": "true",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    return open_store(URLS[root])


def ended(gateway: OwnGateway, batch_id: str) -> str:
    def state() -> str | None:
        answer = web.get(f"{gateway.url}/v1/batches/{batch_id}")
        return answer.json()["state"] if answer.is_success and answer.json()["state"] in TERMINAL else None

    return str(eventually(state))


def send(gateway: OwnGateway, **document: object) -> str:
    answer = web.post(f"{gateway.url}/v1/batches", json={"operations": ROUTE, **document}, timeout=60)
    assert answer.status_code in {200, 202}, answer.text
    return ended(gateway, str(document["batch_id"]))


def use_everything(gateway: OwnGateway, sources: Store) -> str:
    """Have every service do all that it does in the stores; returns a batch that is left."""
    sent = web.post(f"{gateway.url}/v1/batches", **form(picture(0), picture(1), actions={"operations": ROUTE}))
    assert sent.status_code == 202, sent.text
    batch_id = sent.json()["batch_id"]
    assert ended(gateway, batch_id) == "done"
    for path in (f"/v1/batches/{batch_id}/outputs.zip", f"/v1/batches/{batch_id}/report", f"/static/{batch_id}/"):
        assert web.get(gateway.url + path).is_success
    refused = web.post(f"{gateway.url}/v1/batches", **form(picture(2), ("x.jpg", b"no"), actions={"operations": []}))
    assert refused.status_code == 422
    sources.write("street/a.jpg", picture(0)[1])
    assert send(gateway, batch_id="street", source="street/", images=["a.jpg", "gone.jpg"]) == "partial"
    sources.write("street/b.jpg", picture(1)[1])
    assert send(gateway, batch_id="again", source="street/", again="all") == "done"
    assert web.request("DELETE", f"{gateway.url}/v1/batches/{batch_id}?erase=true").status_code == 202
    eventually(lambda: web.get(f"{gateway.url}/v1/batches/{batch_id}").status_code == 404)
    return "again"


def test_every_service_works_with_its_rights_and_uses_all_of_them(
    gateway: OwnGateway, s3: GuardedS3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    batch_id = use_everything(gateway, store_of(s3, monkeypatch, "root", "source"))
    with pytest.raises(NotFound):  # as a step does of an intermediate that was lost, to have it made again
        store_of(s3, monkeypatch, "step-split", "work").read("gone")
    assert s3.refused == []
    used = {(USERS[user], action, bucket) for user, action, bucket in s3.used if user != "root"}
    granted = {
        (service, action, grant.root)
        for service in USERS.values() for grant in RIGHTS[service] for right in grant.rights
        for action in (ACTIONS | ({} if s3.tells_absent else {"absent": {LIST}}))[right]
    }  # fmt: skip
    assert granted == used
    a_step_changes_nothing_of_anothers(s3, monkeypatch, batch_id)
    for log in tmp_path.glob("**/*log"):
        assert "of the test" not in log.read_text()


def a_step_changes_nothing_of_anothers(s3: GuardedS3, monkeypatch: pytest.MonkeyPatch, batch_id: str) -> None:
    """Attack with the key of a step: what is left is to write outputs, which are its work."""

    def everything() -> dict[str, bytes]:
        stores = [store_of(s3, monkeypatch, "root", root) for root in ROOTS]
        return {f"{store}{blob.key}": bytes(store.read(blob.key)) for store in stores for blob in store.list()}

    before = everything()
    assert len(before) >= 6
    source, work, output = (store_of(s3, monkeypatch, "step-resize", root) for root in ROOTS)
    report = f"{batch_id}/report.json"
    assert json.loads(bytes(store_of(s3, monkeypatch, "root", "output").read(report)))["batch_id"] == batch_id
    for attack in (
        lambda: source.write("street/a.jpg", b"another"),
        lambda: source.delete("street/a.jpg"),
        lambda: source.write(".muniflow/uploads/x/a.jpg", b"another"),
        lambda: output.read(report),
        lambda: list(output.list()),
        lambda: output.write(report, b"{}"),
        lambda: output.write("report.json", iter([b"{}"])),
        lambda: output.create(f"{batch_id}/report-r9.json", b"{}"),
        lambda: output.delete(report),
        lambda: output.delete_prefix(f"{batch_id}/"),
        lambda: work.delete("x"),
    ):
        with pytest.raises(Unavailable, match="not allowed to"):
            attack()
    assert everything() == before


def test_who_has_no_task_of_a_batch_does_not_find_its_intermediates(
    gateway: OwnGateway, s3: GuardedS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No worker of the second step runs, so what the first one has made for it stays."""
    store_of(s3, monkeypatch, "root", "source").write("street/a.jpg", picture(0)[1])
    route = [ROUTE[0], ["blur", "gaussian"]]
    document = {"batch_id": "street", "source": "street/", "operations": route}
    sent = web.post(f"{gateway.url}/v1/batches", json=document)
    assert sent.status_code == 202, sent.text
    everything = store_of(s3, monkeypatch, "root", "work")
    (intermediate,) = eventually(lambda: list(everything.list("street/")))
    another = store_of(s3, monkeypatch, "step-split", "work")

    for step in (-1, 0, 1):
        with pytest.raises(NotFound):
            another.read(intermediate_key("street", 0, 0, step, WHOLE))
    if s3.tells_absent:
        for prefix in ("", "street/", "street/0/0/"):
            with pytest.raises(Unavailable, match="not allowed to list"):
                list(another.list(prefix))
    assert another.size(intermediate.key), "the name is all that it takes"


def test_a_password_that_changed_counts_for_the_next_connection(broker: BrokerSettings, tmp_path: Path) -> None:
    right = str(urlsplit(broker.amqp_url).password)
    (tmp_path / "MUNIFLOW_AMQP_PASSWORD").write_text("of before")
    settings = read_env(BrokerSettings, {**to_env(broker), "MUNIFLOW_SECRETS_DIR": str(tmp_path)})
    loop = new_loop()
    transport = RabbitTransport(settings.model_copy(update={"reconnect_max_s": 0.5}), loop, "test")
    transport.start(Topology((), ()), lambda: None, lambda _: None)
    run_until(loop, lambda: "refused the user" in str(transport.disconnect_reason))
    (tmp_path / "MUNIFLOW_AMQP_PASSWORD").write_text(right)
    run_until(loop, lambda: transport.connected)
    transport.stop(loop.stop)
    loop.start()
    loop.close()
