"""Karpenter 1.15 buys nodes for a stage: how many for eight pods with the chart's defaults, and when they go.

Real: Karpenter, scheduler, chart, broker, worker processes. Stands in: see `karpenter`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.bench import Bench, values
from tests.cluster.karpenter import CONSOLIDATE_AFTER_S, POOL, PROGRAM, Karpenter
from tests.cluster.scaled import UP_S
from tests.cluster.supplies import Supplies
from tests.support.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
PODS, FEW = 8, 2
DOWN_S = CONSOLIDATE_AFTER_S + 170.0
"""Drains included: a worker that ends hands back its tasks first."""


@contextmanager
def stage(supplies: Supplies, folder: Path, preferences: str, **more: Any) -> Iterator[Karpenter]:
    """A release with `PODS` pods of one stage, on nodes that Karpenter buys."""
    bench = supplies.bench
    if not (bench.plane.programs / PROGRAM).exists():
        pytest.skip("no karpenter: run tools/control-plane --only karpenter")
    with Karpenter(bench, folder, preferences) as karpenter:
        bench.install(settings(PODS, **more))
        try:
            eventually(lambda: ready(bench) == PODS, UP_S, karpenter.tail, every_s=0.5)
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
