"""`helm upgrade` against a real API server, from no scaler to an HPA: every stage keeps its replicas at every moment.

Real: Helm 4, in both of its ways to apply, and the API server with its defaults and owners of fields. Stands in: the
HPA is a write to the Deployment's `scale` in the name of the controller manager, as the controller does it.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.cluster.bench import STAGES, Bench, values
from tests.deploy.chart import RELEASE

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
REPLICAS = 6
SCALED = 4
LOOKS = 20
"""Fewer would say nothing."""
WAYS = {"server-side apply": "--server-side=true", "as helm 3": "--server-side=false"}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, api_server: Bench) -> Iterator[str]:
    with api_server.within(f"upgrade-{[*WAYS].index(request.param)}"):
        yield WAYS[request.param]
        api_server.helm("uninstall", RELEASE)


def counts(bench: Bench) -> dict[str, int]:
    return bench.replicas()


@contextmanager
def watched(bench: Bench) -> Iterator[list[list[int]]]:
    """The replicas of all stages, again and again, as fast as the API server answers."""
    seen: list[list[int]] = []
    stopping = threading.Event()

    def look() -> None:
        while not stopping.is_set():
            seen.append(list(counts(bench).values()))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        stopping.set()
        thread.join(30)


def scale(bench: Bench, stage: str, replicas: int) -> None:
    path = f"/apis/apps/v1/namespaces/{bench.namespace}/deployments/{RELEASE}-step-{stage}/scale"
    bench.api.patch(path, {"spec": {"replicas": replicas}}, fieldManager="kube-controller-manager")


def test_a_stage_keeps_its_replicas_when_an_hpa_is_switched_on(way, api_server):
    defaults = {"replicas": REPLICAS, "nodeSelector": {"pool": "nowhere"}}
    api_server.install(values(stepDefaults=defaults), way)
    assert counts(api_server) == dict.fromkeys(STAGES, REPLICAS)

    with watched(api_server) as seen:
        api_server.install(values(stepDefaults=defaults, autoscaling={"mode": "hpa"}), way)
    assert len(seen) > LOOKS
    assert set(map(tuple, seen)) == {(REPLICAS,) * len(STAGES)}, "not for a moment another number"

    scale(api_server, "soften", SCALED)
    api_server.install(values(stepDefaults={**defaults, "children": 2}, autoscaling={"mode": "hpa"}), way)
    assert counts(api_server) == {**dict.fromkeys(STAGES, REPLICAS), "soften": SCALED}, "the scaler's number stays"
