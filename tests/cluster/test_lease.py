"""Lease takeover: three coordinators elect by a Kubernetes Lease, with the real client against the real API server.

Real: API server, RBAC and tokens, the pods' accounts and rights as the chart renders them, the `kubernetes` client.
Stands in: the pods of the StatefulSet are made by the test, on a node that is only an object.
"""

import base64
import json
import signal
import urllib.request
from collections.abc import Iterator, Mapping

import pytest
import yaml
from tests.cluster.api import Refused
from tests.cluster.bench import Bench, values
from tests.cluster.objects import Objects
from tests.cluster.pod import Pod
from tests.deploy.chart import CHART, RELEASE, Document, load, of_kind, pods, run
from tests.support.postgres import PrivatePostgres
from tests.support.stopping import stopped
from tests.support.waiting import eventually, seconds_until

from muniflow.runtime.settings import BrokerSettings

pytest_plugins = ["tests.support.postgres_fixtures"]
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
COORDINATOR = f"{RELEASE}-coordinator-"
COORDINATORS = 3
TAKEOVER_S = 20.0
"""The lease lasts 12 s, its holder renews every 5 s, others look every second."""
SOON_S = 8.0
"""An orderly end releases the lease."""
BACKOFF_S = 25.0
"""A coordinator that starts again under its own name takes its lease back at once: that is no takeover."""
LEASE = "muniflow-coordinator"
BESIDES = ("ServiceAccount", "Role", "RoleBinding", "Secret", "ConfigMap")
"""Kinds that a coordinator's pod needs."""


@pytest.fixture
def coordinators(api_server: Bench, postgres: PrivatePostgres, broker: BrokerSettings) -> Iterator[Bench]:
    with api_server.within("lease"):
        yield from running_coordinators(api_server, {"ledger": postgres.url, "broker": broker.amqp_url})


def running_coordinators(bench: Bench, urls: Mapping[str, str]) -> Iterator[Bench]:
    space = f"/api/v1/namespaces/{bench.namespace}"
    bench.kubelet.backoff_s, quick_s = BACKOFF_S, bench.kubelet.backoff_s
    for name, url in urls.items():
        data = {"url": base64.b64encode(url.encode()).decode()}
        bench.api.post(f"{space}/secrets", {"metadata": {"name": name}, "data": data})
    objects, documents = Objects(bench.api).discover(), rendering(bench)
    for document in of_kind(documents, *BESIDES):
        objects.apply(document)
    pod = pods(documents)[f"StatefulSet/{RELEASE}-coordinator"]
    names = [f"{COORDINATOR}{number}" for number in range(COORDINATORS)]
    for name in names:
        metadata = {**pod["metadata"], "name": name}
        bench.api.post(f"{space}/pods", {"metadata": metadata, "spec": {**pod["spec"], "nodeName": "system-1"}})
    eventually(lambda: len(ready(bench)) == COORDINATORS, 120, lambda: logs(bench), every_s=0.5)
    yield bench
    for name in names:
        bench.api.delete(f"{space}/pods/{name}")
    eventually(lambda: not bench.kubelet.named(COORDINATOR), 60, "no coordinator")
    bench.kubelet.backoff_s = quick_s


def rendering(bench: Bench) -> tuple[Document, ...]:
    lease = {"replicas": COORDINATORS, "leaderElection": "lease"}
    database = {"kind": "postgres", "postgres": {"existingSecret": "ledger"}}
    path = bench.folder / "lease.yaml"
    path.write_text(yaml.safe_dump(values(coordinator=lease, database=database)))
    done = run("helm", "template", RELEASE, CHART, "--namespace", bench.namespace, "--values", path)
    assert done.returncode == 0, done.stderr
    return load(done.stdout)


def logs(bench: Bench) -> str:
    return "\n".join(pod.log.read_text()[-800:] for pod in bench.kubelet.named(COORDINATOR))


def ready(bench: Bench) -> list[Pod]:
    return [pod for pod in bench.kubelet.named(COORDINATOR) if pod.ready]


def holder(bench: Bench) -> str:
    """Whom the Lease names."""
    path = f"/apis/coordination.k8s.io/v1/namespaces/{bench.namespace}/leases/{LEASE}"
    try:
        return str(bench.api.get(path)["spec"].get("holderIdentity") or "")
    except Refused:
        return ""


def leader(bench: Bench) -> Pod:
    """The pod that the Lease names."""
    return eventually(lambda: next((pod for pod in ready(bench) if pod.name == holder(bench)), None), 60, "a leader")  # type: ignore[return-value]


def test_another_coordinator_takes_over_from_one_that_is_killed_ended_or_frozen(coordinators, capsys):
    bench, took_s = coordinators, {}
    old = leader(bench)
    old.signal(signal.SIGKILL)
    took_s["SIGKILL"] = seconds_until(lambda: holder(bench) not in {"", old.name}, TAKEOVER_S, "a takeover")

    old = leader(bench)
    old.signal(signal.SIGTERM)
    took_s["SIGTERM"] = seconds_until(lambda: holder(bench) not in {"", old.name}, SOON_S, "a takeover")

    eventually(lambda: len(ready(bench)) == COORDINATORS, 120, lambda: logs(bench), every_s=0.5)
    old = leader(bench)
    with stopped([old.pid]):
        took_s["SIGSTOP"] = seconds_until(lambda: holder(bench) not in {"", old.name}, TAKEOVER_S, "a takeover")
    eventually(lambda: len(ready(bench)) == COORDINATORS, 60, "all are back")
    assert holder(bench) != old.name, "the frozen one does not take it back"

    with stopped([bench.plane.server.pid]):
        took_s["nobody leads without an API server after"] = seconds_until(
            lambda: not leads(bench), TAKEOVER_S, "nobody leads"
        )
    took_s["API server back"] = seconds_until(lambda: leads(bench), TAKEOVER_S, "a leader again")
    with capsys.disabled():
        print(f"\nLease: {', '.join(f'{what} {seconds:.1f} s' for what, seconds in took_s.items())}")  # noqa: T201


def leads(bench: Bench) -> bool:
    """Whether some coordinator says of itself that it leads."""
    return any(_says_that_it_leads(pod) for pod in bench.kubelet.named(COORDINATOR))


def _says_that_it_leads(pod: Pod) -> bool:
    try:
        with urllib.request.urlopen(f"http://{pod.address}:9100/v1/info?passed_on=1", timeout=3) as answer:
            return bool(json.load(answer)["leader"])
    except OSError:
        return False
