"""Faults in mid-batch, on a real HPA with the signal `forecast`: what is lost, what the replicas do, what it costs.

Real: control plane, chart, coordinator, broker, Prometheus, workers. Stands in: a node is lost when its processes are
killed and its lease is not renewed; its object goes `NOTICED_S` later, as a cloud's controller takes it away. The
connections of its pods end at once; a real broker notices by missed heartbeats.
"""

import threading
from collections.abc import Callable, Iterator

import pytest
from tests.cluster.batches import COORDINATOR, Batch
from tests.cluster.bench import STAGES
from tests.cluster.nodes import POOLS
from tests.cluster.scaled import (
    HPA_S,
    NAPS_S,
    SCALE_DOWN,
    SIGNAL_S,
    START_S,
    UP_S,
    Bounds,
    Scaled,
    cost,
    installed,
    largest_s,
)
from tests.cluster.supplies import SCRAPE_S, Supplies
from tests.support.stopping import stopped
from tests.support.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]
IMAGES = 1200
"""Enough work for all faults, one after the other."""
MAX_PODS = 6
DUE_S = 400
FROZEN_S = SCALE_DOWN["stabilizationSeconds"] + 2 * HPA_S + SCRAPE_S
"""Longer than the window of `scaleDown`: where a missing signal counts as zero, the stages shrink meanwhile."""
NEXT_S = 20.0
"""From the recovery from one fault to the next."""
NOTICED_S = 10.0
LOST_S = 150.0
"""From a lost node until its pods are replaced: 40 s in which the pods' collector waits, and its 20 s between looks."""
Fault = Callable[[Scaled], None]


def prometheus_frozen(release: Scaled) -> None:
    with stopped(release.supplies.prometheus.pids):
        threading.Event().wait(FROZEN_S)


def coordinator_replaced(release: Scaled) -> None:
    bench = release.bench
    (old,) = bench.kubelet.named(COORDINATOR)
    bench.api.delete(f"/api/v1/namespaces/{bench.namespace}/pods/{old.name}")
    eventually(
        lambda: any(pod.ready and pod.uid != old.uid for pod in bench.kubelet.named(COORDINATOR)),
        UP_S,
        "another coordinator is ready",
    )


def broker_restarted(release: Scaled) -> None:
    release.supplies.broker.restart()


def node_lost(release: Scaled) -> None:
    """The one with most workers."""
    bench = release.bench
    workers = bench.kubelet.named("muniflow-step-")
    lost = max(POOLS, key=lambda node: sum(pod.node == node.name for pod in workers))
    bench.kubelet.lose(lost.name)
    try:
        threading.Event().wait(NOTICED_S)
        bench.api.delete(f"/api/v1/nodes/{lost.name}")
        eventually(lambda: not placed(release, lost.name), LOST_S, "its pods are collected", every_s=0.5)
    finally:
        bench.kubelet.gain(lost)


def placed(release: Scaled, node: str) -> list[str]:
    """Pods that the API server has on a node."""
    found = release.bench.api.items(f"/api/v1/namespaces/{release.bench.namespace}/pods")
    return [item["metadata"]["name"] for item in found if item["spec"].get("nodeName") == node]


def upgraded(release: Scaled) -> None:
    """All workers are replaced."""
    old = {pod.uid for pod in release.bench.kubelet.named("muniflow-step-")}
    release.install(stepDefaults={"podAnnotations": {"bench/upgrade": "2"}})
    eventually(
        lambda: not old & {pod.uid for pod in release.bench.kubelet.named("muniflow-step-")},
        UP_S,
        "all pods are replaced",
        every_s=0.5,
    )


FAULTS: dict[str, Fault] = {
    "Prometheus frozen": prometheus_frozen,
    "coordinator replaced": coordinator_replaced,
    "broker restarted": broker_restarted,
    "node lost": node_lost,
    "upgraded": upgraded,
}
STANDSTILL_S = 40.0
"""What a fault may cost, where it stops everything."""
BOUNDS = Bounds(
    end_s=SIGNAL_S + START_S + largest_s(IMAGES, MAX_PODS) + len(FAULTS) * STANDSTILL_S,
    most=MAX_PODS,
    turns=3,
    cost=cost(DUE_S) + 0.5,
)
"""A batch that is late has its replicas for longer."""


@pytest.fixture(scope="module")
def release(supplies: Supplies) -> Iterator[Scaled]:
    with installed(supplies, most=MAX_PODS, horizon_s=DUE_S) as made:
        made.warm_up()
        yield made


def test_each_fault_in_mid_batch_costs_time_and_no_image(release, capsys):
    batch = Batch(release.supplies, "faults", IMAGES, NAPS_S)
    with release.recording() as recording:
        batch.send()
        recording.mark("sent")
        eventually(lambda: whole(release), UP_S, lambda: f"{release.bench.scaled()}", every_s=0.5)
        for name, fault in FAULTS.items():
            assert not batch.ended, f"it ended before {name}: give it more images"
            recording.mark(name)
            fault(release)
            eventually(lambda: whole(release), UP_S, lambda: f"{release.bench.scaled()}", every_s=0.5)
            recording.mark(f"{name}: over")
            threading.Event().wait(NEXT_S)
        release.finish(recording, [batch], BOUNDS.end_s)
    with capsys.disabled():
        print(f"\nfaults: {BOUNDS.judge(recording, [batch])}")  # noqa: T201
    begin_s = recording.marks["Prometheus frozen"] + HPA_S + SCRAPE_S
    for stage in STAGES:
        asked = recording.asked_between(stage, begin_s, recording.marks["Prometheus frozen"] + FROZEN_S)
        assert sorted(asked) == asked, f"{stage} shrank while nobody knew: {asked}"


def whole(release: Scaled) -> bool:
    """Whether each stage has more than one replica, and all of them are ready."""
    return all(1 < asked == ready for asked, ready in release.bench.scaled().values())
