"""deploy/k8s: rendered from the chart, built by kubectl, and as good as the chart itself."""

import re
import shutil
import subprocess
from functools import cache

import pytest
import yaml
from tests.deploy.chart import ROOT, Document, load, name_of, of_kind, pods, run, script
from tests.deploy.policies import POLICIES
from tests.deploy.resource_schemas import VERSIONS, problems

K8S = ROOT / "deploy" / "k8s"
PATHS = (".", "overlays/dev", "overlays/gpu", "overlays/production")
CLUSTER_WIDE = ("Namespace",)


@cache
def built(path: str) -> tuple[Document, ...]:
    done = run("kubectl", "kustomize", K8S / path)
    assert done.returncode == 0, done.stderr
    return load(done.stdout)


def test_nothing_has_drifted_from_the_chart():
    done = script("tools/deploy-render", "--check")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", PATHS)
def test_what_kubectl_builds_fits_the_schemas(path, version):
    assert [problem for document in built(path) for problem in problems(document, version)] == []


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.__name__)
@pytest.mark.parametrize("path", PATHS)
def test_every_policy_holds(path, policy):
    assert list(policy([document for document in built(path) if document["kind"] not in CLUSTER_WIDE])) == []


@pytest.mark.parametrize("path", PATHS)
def test_every_secret_that_a_pod_asks_for_is_there_or_yours_to_make(path):
    made = {document["metadata"]["name"] for document in of_kind(built(path), "Secret")}
    made |= {f"{user['metadata']['name']}-user-credentials" for user in of_kind(built(path), "User")}
    asked = {name for pod in pods(built(path)).values() for name in _secrets(pod)}
    own = {"muniflow-ledger", "muniflow-api-keys", "muniflow-signing-keys"}
    yours = own if path == "overlays/production" else set()
    assert asked - made == yours
    assert not made & yours


def _secrets(node: object) -> set[str]:
    if isinstance(node, dict):
        found = {name for value in node.values() for name in _secrets(value)}
        if "name" in node.get("secret", {}):  # of a projected volume
            found.add(node["secret"]["name"])
        if "secretName" in node and not node.get("optional"):
            found.add(node["secretName"])
        return found
    return {name for item in node for name in _secrets(item)} if isinstance(node, list) else set()


@pytest.mark.parametrize("path", PATHS)
def test_the_namespace_is_restricted_and_everything_is_in_it(path):
    (namespace,) = of_kind(built(path), "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {document["metadata"]["namespace"] for document in built(path) if document["kind"] not in CLUSTER_WIDE} == {
        namespace["metadata"]["name"]
    }


def test_production_has_no_public_password_and_nothing_for_trying_out():
    text = yaml.safe_dump_all(built("overlays/production"))
    assert "trying-out-only" not in text
    assert not [name_of(item) for item in of_kind(built("overlays/production"), "StatefulSet")
                if item["metadata"]["name"] != "muniflow-coordinator"]  # fmt: skip


def test_the_gpu_overlay_asks_for_one_gpu_tolerates_its_taint_and_takes_the_gpu_image():
    pod = pods(built("overlays/gpu"))["Deployment/muniflow-step-blur"]["spec"]
    container = pod["containers"][0]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert container["image"].endswith("-gpu")
    assert {"name": "MUNIFLOW_DEVICE", "value": "opencl"} in container["env"]
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert pod["nodeSelector"]
    other = pods(built("overlays/gpu"))["Deployment/muniflow-step-resize"]["spec"]
    assert "tolerations" not in other
    assert "nvidia.com/gpu" not in other["containers"][0]["resources"]["limits"]


def test_random_passwords_replace_the_public_ones(tmp_path):
    for folder in ("scripts", "deploy/k8s/secrets"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "deploy-secrets", tmp_path / "scripts")
    path = tmp_path / "deploy" / "k8s" / "secrets" / "kustomization.yaml"
    shutil.copy(K8S / "secrets" / "kustomization.yaml", path)
    subprocess.run([tmp_path / "scripts" / "deploy-secrets"], check=True, capture_output=True)
    secrets = yaml.safe_load(path.read_text())["secretGenerator"]
    made = [item["literals"][1].split("=")[1] for item in secrets]
    assert len(set(made)) == len(secrets)
    assert all(re.fullmatch("[0-9a-f]{48}", password) for password in made)
