"""Faults in mid-batch, on a real HPA with the signal `forecast`: what is lost, what the replicas do, what it costs.

Real: control plane, chart, coordinator, broker, Prometheus, workers. Stands in: a node is lost when its processes are
killed and its lease is not renewed; its object goes `NOTICED_S` later, as a cloud's controller takes it away. The
connections of its pods end at once; a real broker notices by missed heartbeats.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from tests.cluster.batches import COORDINATOR, Batch
from tests.cluster.bench import STAGES
from tests.cluster.nodes import POOLS
from tests.cluster.scaled import HORIZON_S, NAPS_S, UP_S, Bounds, Scaled, installed
from tests.cluster.supplies import SCRAPE_S, Supplies
from tests.support.stopping import stopped
from tests.support.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]
IMAGES = 300
MAX_PODS = 6
FAULT_S = 45.0
"""Longer than a scrape, a look of the HPA and a rule's evaluation together."""
HPA_S = 15.0
"""Between two looks of the HPA controller."""
NOTICED_S = 10.0
BUSY_S = 120.0
"""From the batch to two replicas of each stage: the signal's delay, a look, starts."""
LOST_S = 150.0
"""From a lost node until its pods are replaced: 40 s in which the pods' collector waits, and its 20 s between looks."""
BOUNDS = Bounds(end_s=2 * HORIZON_S, most=MAX_PODS, turns=3, cost=4.0)
Fault = Callable[[Scaled], AbstractContextManager[None]]


@contextmanager
def prometheus_frozen(release: Scaled) -> Iterator[None]:
    with stopped(release.supplies.prometheus.pids):
        yield


@contextmanager
def coordinator_replaced(release: Scaled) -> Iterator[None]:
    bench = release.bench
    (old,) = bench.kubelet.named(COORDINATOR)
    bench.api.delete(f"/api/v1/namespaces/{bench.namespace}/pods/{old.name}")
    yield
    eventually(
        lambda: any(pod.ready and pod.uid != old.uid for pod in bench.kubelet.named(COORDINATOR)),
        UP_S,
        "another coordinator is ready",
    )


@contextmanager
def broker_restarted(release: Scaled) -> Iterator[None]:
    release.supplies.broker.restart()
    yield


@contextmanager
def node_lost(release: Scaled) -> Iterator[None]:
    bench = release.bench
    counts = {
        node.name: len([p for p in bench.kubelet.named("muniflow-step-") if p.node == node.name]) for node in POOLS
    }
    lost = max(POOLS, key=lambda node: counts[node.name])
    assert counts[lost.name] > 0
    bench.kubelet.lose(lost.name)
    try:
        threading.Event().wait(NOTICED_S)
        bench.api.delete(f"/api/v1/nodes/{lost.name}")
        eventually(lambda: not placed(release, lost.name), LOST_S, "its pods are collected", every_s=0.5)
        yield
    finally:
        bench.kubelet.gain(lost)


def placed(release: Scaled, node: str) -> list[str]:
    """Pods that the API server has on a node."""
    found = release.bench.api.items(f"/api/v1/namespaces/{release.bench.namespace}/pods")
    return [item["metadata"]["name"] for item in found if item["spec"].get("nodeName") == node]


@contextmanager
def upgraded(release: Scaled) -> Iterator[None]:
    """All pods are replaced."""
    release.install(stepDefaults={"podAnnotations": {"bench/upgrade": "2"}})
    yield


FAULTS: dict[str, Fault] = {
    "Prometheus frozen": prometheus_frozen,
    "coordinator replaced": coordinator_replaced,
    "broker restarted": broker_restarted,
    "node lost": node_lost,
    "upgraded": upgraded,
}
HOLDS = {"Prometheus frozen", "coordinator replaced", "broker restarted"}
"""While the signal is away nothing is scaled down."""


@pytest.fixture(scope="module")
def release(supplies: Supplies) -> Iterator[Scaled]:
    with installed(supplies, most=MAX_PODS) as made:
        made.warm_up()
        yield made


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_mid_batch_costs_time_and_no_image(fault, release, capsys):
    batch = Batch(release.supplies, fault.replace(" ", "-").lower(), IMAGES, NAPS_S)
    with release.recording() as recording:
        batch.send()
        recording.mark("sent")
        eventually(lambda: grown(release), BUSY_S, lambda: f"{release.bench.scaled()}", every_s=0.5)
        recording.mark("fault")
        with FAULTS[fault](release):
            threading.Event().wait(FAULT_S)
            recording.mark("over")
        release.finish(recording, [batch], BOUNDS.end_s)
    with capsys.disabled():
        print(f"\n{fault}: {BOUNDS.judge(recording, [batch])}")  # noqa: T201
    if fault in HOLDS:
        begin_s = recording.marks["fault"] + HPA_S + SCRAPE_S
        for stage in STAGES:
            asked = recording.asked_between(stage, begin_s, recording.marks["over"])
            assert sorted(asked) == asked, f"{stage} shrank while nobody knew: {asked}"


def grown(release: Scaled) -> bool:
    """Whether each stage has a second replica."""
    return all(ready > 1 for _, ready in release.bench.scaled().values())
