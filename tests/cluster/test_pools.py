"""Pods land in their pools: a real scheduler, nodes of the pools system, CPU and GPU.

Stands in: nodes are objects. A GPU is a number of a node; the worker that lands there finds no device and says so.
"""

from collections.abc import Iterator

import pytest
from tests.cluster.bench import Bench, values
from tests.cluster.nodes import POOLS
from tests.deploy.chart import RELEASE
from tests.support.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
GPUS = sum(node.gpus for node in POOLS)
ASKED = 3
"""One more than there are GPUs."""
PREFIX = "muniflow-step-"


@pytest.fixture
def release(bench: Bench) -> Iterator[Bench]:
    gpu = {"gpu": {"enabled": True, "nodeSelector": {"pool": "gpu"}}, "replicas": ASKED}
    with bench.within("pools"):
        bench.claim("store", "ReadWriteMany")
        bench.install(values(steps={"soften": gpu, "shrink": {"replicas": 2}}))
        yield bench
        bench.helm("uninstall", RELEASE)


def pods(bench: Bench) -> list[tuple[str, str, str]]:
    """Stage, node and phase of each worker."""
    found = bench.api.items(f"/api/v1/namespaces/{bench.namespace}/pods")
    return [
        (
            item["metadata"]["name"].removeprefix(PREFIX).split("-")[0],
            item["spec"].get("nodeName", ""),
            item["status"]["phase"],
        )
        for item in found
        if item["metadata"]["name"].startswith(PREFIX)
    ]


def test_every_pod_is_in_its_pool_and_a_gpu_is_had_once(release):
    eventually(lambda: sum(bool(node) for _, node, _ in pods(release)) == GPUS + 3, 90, lambda: f"{pods(release)}")
    pool = {node.name: node.pool for node in POOLS}
    placed = [(stage, pool[node]) for stage, node, _ in pods(release) if node]
    assert set(placed) == {("shrink", "cpu"), ("cut", "cpu"), ("soften", "gpu")}
    on_gpu = [node for stage, node, _ in pods(release) if stage == "soften"]
    assert sorted(on_gpu) == ["", "gpu-1", "gpu-2"], "one GPU each, and the third pod waits"
    on_cpu = {node for stage, node, _ in pods(release) if stage == "shrink"}
    assert all(node.startswith("cpu-") for node in on_cpu)
