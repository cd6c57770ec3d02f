"""Karpenter 1.15 buys nodes for a stage, with GPUs where it asks for them: how many with the chart's defaults, and when
they go.

Real: Karpenter, scheduler, chart, broker, worker processes. Stands in: see `karpenter`. A GPU is a number of a node.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.bench import Bench, values
from tests.cluster.karpenter import CONSOLIDATE_AFTER_S, GPU_POOL, POOL, PROGRAM, Karpenter
from tests.cluster.scaled import UP_S
from tests.cluster.supplies import Supplies
from tests.cluster.test_pools import pods
from tests.support.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
PODS, FEW = 8, 2
DOWN_S = CONSOLIDATE_AFTER_S + 170.0
"""Drains included: a worker that ends hands back its tasks first."""


@contextmanager
def stage(supplies: Supplies, folder: Path, preferences: str, **more: Any) -> Iterator[Karpenter]:
    """A release with `PODS` pods of one stage, on nodes that Karpenter buys."""
    bench = supplies.bench
    with release(supplies, folder, settings(PODS, **more), preferences) as karpenter:
        eventually(lambda: ready(bench) == PODS, UP_S, karpenter.tail, every_s=0.5)
        yield karpenter


@contextmanager
def release(
    supplies: Supplies, folder: Path, chosen: dict[str, Any], preferences: str = "Respect"
) -> Iterator[Karpenter]:
    """A release beside a Karpenter."""
    bench = supplies.bench
    if not (bench.plane.programs / PROGRAM).exists():
        pytest.skip("no karpenter: run tools/control-plane --only karpenter")
    with Karpenter(bench, folder, preferences) as karpenter:
        bench.install(chosen)
        try:
            yield karpenter
        finally:
            bench.uninstall()
    supplies.empty()


def settings(replicas: int, **more: Any) -> dict[str, Any]:
    soften = {"replicas": replicas, "nodeSelector": {"pool": POOL}, **more}
    return values(steps={"shrink": {"replicas": 0}, "cut": {"replicas": 0}, "soften": soften})


def ready(bench: Bench) -> int:
    """Workers that are ready."""
    return bench.scaled()["soften"][1]


def test_a_stage_is_packed_and_its_nodes_shrink_with_it(supplies, tmp_path, capsys):
    with stage(supplies, tmp_path, "Respect") as karpenter:
        many = karpenter.cores()
        supplies.bench.install(settings(FEW))
        eventually(lambda: sum(karpenter.cores()) < sum(many), DOWN_S, karpenter.tail, every_s=0.5)
        eventually(lambda: ready(supplies.bench) == FEW, UP_S, karpenter.tail, every_s=0.5)
        few = karpenter.cores()
    with capsys.disabled():
        print(f"\n{PODS} pods on nodes of {many} cores; {FEW} pods, consolidated: {few}")  # noqa: T201
    assert len(many) == 1, "packed"


@pytest.mark.parametrize(("preferences", "nodes"), [("Respect", PODS), ("Ignore", 1)])
def test_a_stage_that_is_spread_over_hosts_has_a_node_for_each_pod_unless_karpenter_ignores_wishes(
    preferences, nodes, supplies, tmp_path
):
    with stage(supplies, tmp_path, preferences, spread=["host"]) as karpenter:
        assert len(karpenter.cores()) == nodes


def on_gpus(replicas: int) -> dict[str, Any]:
    """So many pods of a stage with a GPU each, and two of one without."""
    gpu = {"gpu": {"enabled": True, "nodeSelector": {"pool": GPU_POOL}}, "replicas": replicas}
    cpu = {"replicas": 2, "nodeSelector": {"pool": POOL}}
    return values(steps={"shrink": cpu, "cut": {"replicas": 0}, "soften": gpu})


def pools(bench: Bench) -> set[tuple[str, str]]:
    """Of each stage, the pools in which its pods are; an empty one: no node has them yet."""
    nodes = {item["metadata"]["name"]: item["metadata"]["labels"]["pool"] for item in bench.api.items("/api/v1/nodes")}
    return {(stage, nodes.get(node, "")) for stage, node, _ in pods(bench)}


def test_gpus_are_bought_for_the_stage_that_asks_for_them_and_given_back_after_it(supplies, tmp_path, capsys):
    bench = supplies.bench
    with release(supplies, tmp_path, on_gpus(PODS)) as karpenter:
        eventually(lambda: pools(bench) == {("shrink", POOL), ("soften", GPU_POOL)}, UP_S, karpenter.tail, every_s=0.5)
        many = karpenter.gpus()
        bench.install(on_gpus(0))
        eventually(lambda: not karpenter.gpus(), DOWN_S, karpenter.tail, every_s=0.5)
        assert pools(bench) == {("shrink", POOL)}
        assert karpenter.cores(), "the pool without GPUs stays"
    with capsys.disabled():
        print(f"\n{PODS} pods with a GPU each on nodes of {many} GPUs")  # noqa: T201
    assert sum(many) == PODS, "none is bought that nobody asked for"
