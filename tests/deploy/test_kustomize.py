"""deploy/k8s: rendered from the chart, built by kubectl, and as good as the chart itself."""

import base64
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml
from tests.deploy.chart import ROOT, Document, load, name_of, of_kind, pods, run, script
from tests.deploy.policies import POLICIES
from tests.deploy.resource_schemas import VERSIONS, problems

from muniflow.runtime.signing import read_signing_keys, read_verify_keys

PATHS = (".", "overlays/dev", "overlays/gpu", "overlays/production")
CLUSTER_WIDE = ("Namespace",)


def with_secrets(folder: Path) -> Path:
    """A copy of deploy/k8s below `folder`, with the passwords and keys that its user makes first."""
    shutil.copytree(ROOT / "deploy" / "k8s", folder / "deploy" / "k8s", ignore=shutil.ignore_patterns("*.pem"))
    (folder / "scripts").mkdir()
    script = shutil.copy(ROOT / "scripts" / "deploy-secrets", folder / "scripts")
    subprocess.run([script], check=True, capture_output=True)
    return folder / "deploy" / "k8s"


@cache
def built(path: str) -> tuple[Document, ...]:
    with tempfile.TemporaryDirectory() as folder:
        done = run("kubectl", "kustomize", with_secrets(Path(folder)) / path)
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
    path = with_secrets(tmp_path) / "secrets" / "kustomization.yaml"
    secrets = [item for item in yaml.safe_load(path.read_text())["secretGenerator"] if "literals" in item]
    made = [item["literals"][1].split("=")[1] for item in secrets]
    assert len(set(made)) == len(secrets)
    assert all(re.fullmatch("[0-9a-f]{48}", password) for password in made)


@pytest.mark.parametrize("path", PATHS)
def test_tasks_are_signed_and_verified(path):
    signs, verifies = "MUNIFLOW_SIGNING_KEY_FILE", "MUNIFLOW_VERIFY_KEYS_FILE"
    found = {name: set(_variables(pod)) & {signs, verifies} for name, pod in pods(built(path)).items()}
    steps = {name for name in found if "-step-" in name}
    (coordinator,) = (name for name in found if name.endswith("/muniflow-coordinator"))
    assert steps
    assert {name: has for name, has in found.items() if has} == {
        coordinator: {signs},
        **{name: {verifies} for name in steps},
    }


def _variables(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        yield from (variable["name"] for variable in node.get("env") or ())
        for value in node.values():
            yield from _variables(value)
    if isinstance(node, list):
        for item in node:
            yield from _variables(item)


def test_everybody_gets_a_signing_key_of_their_own():
    def key_ids(documents):
        (secret,) = (item for item in of_kind(documents, "Secret") if name_of(item).endswith("signing-keys"))
        (config,) = (item for item in of_kind(documents, "ConfigMap") if name_of(item).endswith("verify-keys"))
        private = read_signing_keys(base64.b64decode(secret["data"]["signing-keys.pem"]))
        assert [key.id for key in private] == list(read_verify_keys(config["data"]["verify-keys.pem"].encode()))
        return {key.id for key in private}

    first, second = (key_ids(built(path)) for path in (".", "overlays/dev"))
    assert not first & second


def test_keys_that_are_there_stay(tmp_path):
    folder = with_secrets(tmp_path) / "secrets"
    before = [path.read_bytes() for path in sorted(folder.iterdir())]
    subprocess.run([tmp_path / "scripts" / "deploy-secrets"], check=True, capture_output=True)
    assert [path.read_bytes() for path in sorted(folder.iterdir())] == before
    assert not (folder / "signing-keys.pem").stat().st_mode & 0o077


def test_no_private_key_is_published():
    found = subprocess.run(["git", "grep", "-l", "PRIVATE KEY", "deploy"], cwd=ROOT, capture_output=True, check=False)
    assert (found.returncode, found.stdout) == (1, b""), "1: nothing found"
