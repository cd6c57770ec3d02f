"""`muniflow doctor` in a cluster: pods that wait for an image or a node, as a kubelet and a scheduler report them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.support.kube_api import ApiServer, cluster_of_tests

from muniflow_cli.commands.check_cluster import check_cluster, pull_advice
from muniflow_cli.main import cli
from muniflow_cli.stack.ports import free_ports

BACK_OFF = 'Back-off pulling image "muniflow-blur:0.1.0"'
ABSENT = 'failed to pull and unpack image "docker.io/library/muniflow-blur:0.1.0": not found'


def pod(name: str, image: str, waiting: dict[str, str] | None = None, **status: Any) -> dict[str, Any]:
    """A pod of one container."""
    state = {"running": {}} if waiting is None else {"waiting": waiting}
    container = {"name": "muniflow", "image": image, "imageID": "", "ready": False, "restartCount": 0, "state": state}
    return {
        "metadata": {"name": name},
        "spec": {"containers": []},
        "status": {"containerStatuses": [container], **status},
    }


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    """A cluster whose two pods run."""
    pods = [
        pod("muniflow-step-blur-1", "muniflow-blur:0.1.0"),
        pod("muniflow-coordinator-0", "muniflow-coordinator:0.1.0"),
    ]
    with cluster_of_tests(pods, tmp_path, monkeypatch) as server:
        yield server


def test_pods_that_run_are_no_finding(api: ApiServer) -> None:
    [finding] = check_cluster(None, None)
    assert (finding.level, finding.check) == ("ok", "cluster")
    assert api.asked[0].startswith("/api/v1/namespaces/imagery/pods?")


def test_an_image_that_no_node_has_is_one_finding_with_its_reason(api: ApiServer) -> None:
    api.listed += [
        pod("blur-2", "muniflow-blur:0.1.0", {"reason": "ImagePullBackOff", "message": BACK_OFF}),
        pod("blur-3", "muniflow-blur:0.1.0", {"reason": "ErrImagePull", "message": ABSENT}),
    ]
    [finding] = check_cluster("try", "elsewhere")
    assert (finding.level, finding.check) == ("error", "image muniflow-blur:0.1.0")
    assert finding.what.startswith("2 containers wait for it: ")
    assert "not found" in finding.what
    assert "make images images-load" in finding.to_do


@pytest.mark.parametrize(
    ("image", "said", "advice"),
    [
        ("muniflow-blur:0.1.0", "pull access denied, repository does not exist", "no registry is set"),
        ("registry.example.org/imagery/muniflow-blur:9", "manifest unknown", "push it to registry.example.org"),
        ("registry.example.org/imagery/muniflow-blur:9", "no match for platform in manifest", "architecture"),
        ("registry.example.org/imagery/muniflow-blur:9", "401 Unauthorized", "image.pullSecrets"),
        ("docker.io/library/rabbitmq:4.1-management", "dial tcp: i/o timeout", "nodes reach docker.io"),
    ],
)
def test_what_to_do_about_an_image(image: str, said: str, advice: str) -> None:
    assert advice in pull_advice(image, said)


def test_a_pod_that_no_node_takes(api: ApiServer) -> None:
    message = "0/3 nodes are available: 3 Insufficient cpu."
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    api.listed.append(
        {"metadata": {"name": "blur-2"}, "spec": {"containers": []}, "status": {"conditions": [condition]}}
    )
    [finding] = check_cluster(None, None)
    assert (finding.level, finding.check) == ("error", "pod blur-2")
    assert "Insufficient cpu" in finding.what


def test_an_empty_namespace_and_a_cluster_that_refuses(api: ApiServer) -> None:
    api.listed.clear()
    [finding] = check_cluster(None, None)
    assert "no pod of muniflow" in finding.what
    api.status = 403
    [finding] = check_cluster(None, None)
    assert "403" in finding.what


def test_doctor_shows_the_cluster_first(api: ApiServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    [nobody] = free_ports(1)
    monkeypatch.setenv("MUNIFLOW_AMQP_URL", f"amqp://a:b@127.0.0.1:{nobody}/")
    monkeypatch.chdir(tmp_path)
    api.listed.append(pod("blur-2", "muniflow-blur:0.1.0", {"reason": "ErrImagePull", "message": ABSENT}))
    done = CliRunner().invoke(cli, ["doctor", "--namespace", "imagery", "--json"])
    assert json.loads(done.stdout)[0]["check"] == "image muniflow-blur:0.1.0"
