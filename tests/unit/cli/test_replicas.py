"""`muniflow stages` in a cluster: what the chart makes, as its API server lists it, becomes replicas per operation."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.kube_api import ApiServer, cluster_of_tests

from muniflow.errors import Invalid, Unavailable
from muniflow_cli.commands.replicas import Replicas, read_replicas

ROOT = Path(__file__).resolve().parents[3]
RENDERED = ROOT / "tests" / "deploy" / "snapshots" / "default.yaml"


def deployments() -> list[dict[str, Any]]:
    """Those of the chart, by default; a cluster adds a status at once."""
    rendered = [each for each in yaml.safe_load_all(RENDERED.read_text()) if each and each["kind"] == "Deployment"]
    return [{**each, "status": {}} for each in rendered]


def chained(*operations: str) -> dict[str, Any]:
    """A stage of its own name, with other operations."""
    stage = next(each for each in deployments() if each["metadata"]["name"] == "muniflow-step-blur")
    env = stage["spec"]["template"]["spec"]["containers"][0]["env"]
    next(each for each in env if each["name"] == "MUNIFLOW_OPERATIONS")["value"] = ",".join(operations)
    return stage


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    """A cluster with the chart in it."""
    with cluster_of_tests(deployments(), tmp_path, monkeypatch) as server:
        yield server


def test_each_operation_of_the_chart_has_its_replicas(api: ApiServer) -> None:
    for each in api.listed:
        each["status"] = {"readyReplicas": 1}
    found = read_replicas(None, None)
    assert found == {name: Replicas(1, 1) for name in ("resize", "split", "blur")}
    assert api.asked[0].startswith("/apis/apps/v1/namespaces/imagery/deployments?")


def test_a_stage_of_several_operations_counts_for_each_and_adds_to_others(api: ApiServer) -> None:
    api.listed.append(chained("resize", "blur"))
    api.listed[-1]["spec"]["replicas"] = 4
    found = read_replicas("try", "elsewhere")
    assert found == {"resize": Replicas(5, 0), "split": Replicas(1, 0), "blur": Replicas(5, 0)}
    assert api.asked[0].startswith("/apis/apps/v1/namespaces/elsewhere/deployments?")


def test_a_cluster_that_refuses_is_said_so(api: ApiServer) -> None:
    api.status = 403
    with pytest.raises(Unavailable, match="403"):
        read_replicas(None, None)


def test_an_unknown_context_is_said_so(api: ApiServer) -> None:
    with pytest.raises(Invalid, match="nowhere"):
        read_replicas("nowhere", None)
    assert not api.asked
