"""skaffold.yaml, asked of the real binary where there is one: $MUNIFLOW_SKAFFOLD, or `skaffold` on the path.

No registry, no cluster, no image is needed: what is rendered is the chart or the overlay, with the images' names.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from tests.deploy.chart import ROOT, load, of_kind, tool
from tests.deploy.test_kustomize import with_secrets

SKAFFOLD = os.environ.get("MUNIFLOW_SKAFFOLD") or shutil.which("skaffold")
SERVICES = ("coordinator", "gateway", "resize", "split", "blur")
PROFILES = ((), ("kustomize",), ("gpu",))

pytestmark = pytest.mark.skipif(
    SKAFFOLD is None, reason="no skaffold here: set MUNIFLOW_SKAFFOLD, or see tests/deploy/test_files.py for its shape"
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that skaffold reads, with the passwords and keys that their user makes first."""
    folder = tmp_path_factory.mktemp("tree")
    with_secrets(folder)
    for name in ("deploy", "services", "libs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("k8s"), dirs_exist_ok=True)
    for name in ("skaffold.yaml", "Dockerfile"):
        shutil.copy(ROOT / name, folder)
    return folder


def skaffold(tree: Path, home: Path, *arguments: str) -> str:
    """What skaffold writes to stdout; helm and kubectl are ours, and there is no cluster."""
    environment = {
        "PATH": f"{Path(tool('helm')).parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "KUBECONFIG": "/dev/null",
        "SKAFFOLD_UPDATE_CHECK": "false",
        "SKAFFOLD_INTERACTIVE": "false",
    }
    command = [str(SKAFFOLD), *arguments]
    done = subprocess.run(command, cwd=tree, env=environment, check=False, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def with_profiles(profiles: tuple[str, ...]) -> list[str]:
    return [part for profile in profiles for part in ("--profile", profile)]


def synced_to(name: str) -> str:
    """The folder that gets changed files of a service."""
    artifacts = yaml.safe_load((ROOT / "skaffold.yaml").read_text())["build"]["artifacts"]
    (artifact,) = (item for item in artifacts if item["image"] == f"muniflow-{name}")
    (folder,) = {rule["dest"] for rule in artifact["sync"]["manual"]}
    return str(folder)


@pytest.mark.parametrize("profiles", PROFILES)
def test_diagnose_reads_the_file_and_every_profile(tree, tmp_path, profiles):
    found = yaml.safe_load(skaffold(tree, tmp_path, "diagnose", "--yaml-only", *with_profiles(profiles)))
    assert [item["image"] for item in found["build"]["artifacts"]] == [f"muniflow-{name}" for name in SERVICES]


@pytest.mark.parametrize("profiles", PROFILES)
def test_render_gives_every_service_the_image_that_was_built_for_it(tree, tmp_path, profiles):
    built = {"builds": [{"imageName": f"muniflow-{name}", "tag": f"muniflow-{name}:built"} for name in SERVICES]}
    (tmp_path / "built.json").write_text(json.dumps(built))
    text = skaffold(
        tree,
        tmp_path,
        "render",
        "--offline",
        "--digest-source=tag",
        "--build-artifacts",
        str(tmp_path / "built.json"),
        *with_profiles(profiles),
    )
    pods = {
        document["metadata"]["name"].removeprefix("muniflow-"): document["spec"]["template"]["spec"]
        for kind in ("Deployment", "StatefulSet")
        for document in of_kind(load(text), kind)
    }
    for name in SERVICES:
        component = name if name in {"coordinator", "gateway"} else f"step-{name}"
        container = pods[component]["containers"][0]
        assert container["image"] == f"muniflow-{name}:built", component
        assert {"name": "MUNIFLOW_DEV_CODE", "value": synced_to(name)} in container["env"], component
    limits = pods["step-blur"]["containers"][0]["resources"]["limits"]
    assert ("nvidia.com/gpu" in limits) is ("gpu" in profiles)
