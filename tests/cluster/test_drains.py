"""Disruption budgets while a stage grows: half of its pods are Pending, and nodes can be drained all the same.

Real: API server with its eviction, controller manager, chart. Stands in: pods are ready because the test says so.
"""

from collections.abc import Iterator

import pytest
from tests.cluster.api import Refused
from tests.cluster.bench import Bench, values
from tests.cluster.nodes import seconds_now
from tests.support.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
REPLICAS, READY = 8, 4
STAGE = "muniflow-step-soften"
LIMIT_S = 90.0
TOO_MANY = 429
DEFAULTS = {"replicas": REPLICAS, "nodeSelector": {"pool": "nowhere"}}


@pytest.fixture
def growing(bench: Bench) -> Iterator[Bench]:
    """A stage half of which is ready."""
    with bench.within("drains"):
        bench.install(values(stepDefaults=DEFAULTS))
        eventually(lambda: len(pods(bench)) == REPLICAS, LIMIT_S, "all pods", every_s=0.5)
        for name in sorted(pods(bench))[:READY]:
            ready = {"type": "Ready", "status": "True", "lastTransitionTime": seconds_now()}
            status = {"status": {"phase": "Running", "conditions": [ready]}}
            bench.api.patch(f"{path(bench)}/{name}/status", status, "strategic")
        yield bench
        bench.helm("uninstall", "muniflow")


def path(bench: Bench) -> str:
    return f"/api/v1/namespaces/{bench.namespace}/pods"


def pods(bench: Bench) -> dict[str, bool]:
    """The stage's pods, and whether each is ready."""
    return {
        item["metadata"]["name"]: item["status"]["phase"] == "Running"
        for item in bench.api.items(path(bench))
        if item["metadata"]["name"].startswith(STAGE) and "deletionTimestamp" not in item["metadata"]
    }


def allowed(bench: Bench) -> int:
    """Evictions that the budget allows, once its controller has seen all pods."""
    budget = bench.api.get(f"/apis/policy/v1/namespaces/{bench.namespace}/poddisruptionbudgets/{STAGE}")
    status = budget.get("status", {})
    seen = status.get("observedGeneration") == budget["metadata"]["generation"]
    return status["disruptionsAllowed"] if seen and status["currentHealthy"] == sum(pods(bench).values()) else -1


def evict(bench: Bench, *, ready: bool) -> None:
    """One pod, as `kubectl drain` does.

    Raises:
        Refused: the budget does not allow it.
    """
    name = next(name for name, is_ready in pods(bench).items() if is_ready == ready)
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": bench.namespace}}
    bench.api.post(f"{path(bench)}/{name}/eviction", body)


def test_a_stage_that_grows_blocks_no_drain(growing):
    eventually(lambda: allowed(growing) == READY - REPLICAS // 4, LIMIT_S, lambda: f"{allowed(growing)}", every_s=0.5)
    evict(growing, ready=True)
    evict(growing, ready=False)

    growing.install(values(stepDefaults=DEFAULTS, podDisruptionBudget={"stepsMaxUnavailable": 1}))
    eventually(lambda: allowed(growing) == 0, LIMIT_S, lambda: f"{allowed(growing)}", every_s=0.5)
    with pytest.raises(Refused) as refused:
        evict(growing, ready=True)
    assert refused.value.status == TOO_MANY, "a budget of one pod is what blocked"
    evict(growing, ready=False)
