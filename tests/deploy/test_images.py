"""docker-bake.hcl, SBOMs, the packaged chart and the workflows agree with the Dockerfile, the services and each other.

No engine is needed: where Docker's plugin buildx or actionlint is on the path, they are asked as well.
"""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.deploy.chart import CHART, ROOT, run, script

import muniflow
from muniflow.model.operation import installed_operations

BAKE = (ROOT / "docker-bake.hcl").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / ".github" / "workflows").glob("*.yaml")}
OPERATIONS = sorted(installed_operations())
IMAGES = ("coordinator", "gateway", *OPERATIONS, "blur-gpu", "steps", "run")


def variable(name: str) -> str:
    """The default of a variable of docker-bake.hcl."""
    [found] = re.findall(rf'variable "{name}" \{{\s+default = "([^"]*)"', BAKE)
    return str(found)


def test_every_operation_and_every_target_has_its_image() -> None:
    assert variable("OPERATIONS").split(",") == OPERATIONS
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE))
    built = set(re.findall(r'^  target = "(\S+)"$', BAKE, re.MULTILINE))
    assert built == {"control", "step", "gpu", "run"}
    assert built <= stages
    assert variable("BASE") in DOCKERFILE
    for argument in ("BASE", "VERSION", "REVISION", "SOURCE"):
        assert f"\nARG {argument}" in DOCKERFILE
        assert re.search(rf"^    {argument} = ", BAKE, re.MULTILINE)


def test_the_version_is_one() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert {variable("TAG"), chart["appVersion"], chart["version"], muniflow.__version__} == {muniflow.__version__}


def test_what_buildx_makes_of_it() -> None:
    docker = shutil.which("docker")
    command = [docker or "docker", "buildx", "bake", "--file", "docker-bake.hcl", "--print"]
    if docker is None or subprocess.run([docker, "buildx", "version"], check=False, capture_output=True).returncode:
        pytest.skip("Docker's plugin buildx is not here")
    done = subprocess.run(
        command, cwd=ROOT, check=True, capture_output=True, text=True, env={**os.environ, "REGISTRY": "r.example/x"}
    )
    tags = {tag for target in json.loads(done.stdout)["target"].values() for tag in target["tags"]}
    version = variable("TAG")
    names = {f"muniflow-{name}:{version}" for name in IMAGES if name != "blur-gpu"} | {f"muniflow-blur:{version}-gpu"}
    assert tags == {f"r.example/x/{name}" for name in names}


@pytest.fixture(scope="module")
def sboms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Of each image."""
    folder = tmp_path_factory.mktemp("sbom")
    done = script("tools/sbom", str(folder), "--revision", "abc")
    assert done.returncode == 0, done.stderr
    return {path.name.removesuffix(".cdx.json"): json.loads(path.read_text()) for path in folder.glob("*.cdx.json")}


def test_every_image_has_an_sbom_of_what_its_requirements_pin(sboms: dict[str, dict[str, Any]]) -> None:
    assert set(sboms) == {f"muniflow-{name}" for name in IMAGES}
    files = {"coordinator": "coordinator", "gateway": "gateway", "run": "run"}
    for name in IMAGES:
        document = sboms[f"muniflow-{name}"]
        text = (ROOT / "requirements" / f"{files.get(name, 'pixels')}.txt").read_text().replace("\\\n", " ")
        lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
        ours = {line.split("==")[0] for line in lines if "win32" not in line and ">= '3.12'" not in line}
        pinned = {each["name"]: each for each in document["components"] if "purl" in each}
        assert set(pinned) == ours
        for line in lines:
            package, _, rest = line.partition("==")
            if package in pinned and rest.split()[0] == pinned[package]["version"]:
                hashes = [each["content"] for each in pinned[package]["hashes"]]
                assert hashes == re.findall(r"sha256:(\w{64})", line)
        assert {"name": "muniflow:revision", "value": "abc"} in document["metadata"]["properties"]
        references = [each["bom-ref"] for each in document["components"]]
        assert len(references) == len(set(references))
        assert document["dependencies"] == [{"ref": f"muniflow-{name}", "dependsOn": references}]


def test_the_same_tree_gives_the_same_sbom(sboms: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    script("tools/sbom", str(tmp_path), "--revision", "abc")
    for name, document in sboms.items():
        assert json.loads((tmp_path / f"{name}.cdx.json").read_text()) == document


def test_the_packaged_chart_names_its_registry_and_its_images(tmp_path: Path) -> None:
    digest = "sha256:" + "a" * 64
    listed = tmp_path / "images.txt"
    listed.write_text(f"blur registry.example.org/imagery/muniflow-blur:{muniflow.__version__} {digest}\n")
    done = script(
        "tools/chart-package", str(tmp_path), "--registry", "registry.example.org/imagery", "--images", str(listed)
    )
    assert done.returncode == 0, done.stderr
    archive = Path(done.stdout.strip())
    assert archive.name == f"muniflow-{muniflow.__version__}.tgz"
    with tarfile.open(archive) as packed:
        member = packed.extractfile("muniflow/Chart.yaml")
        assert member is not None
        annotations = yaml.safe_load(member)["annotations"]
    images = {each["name"]: each["image"] for each in yaml.safe_load(annotations["artifacthub.io/images"])}
    assert images["muniflow-blur"] == f"registry.example.org/imagery/muniflow-blur:{muniflow.__version__}@{digest}"
    assert set(images) == {f"muniflow-{name}" for name in ("coordinator", "gateway", *OPERATIONS)} | {
        "rabbitmq",
        "versitygw",
    }
    rendered = run("helm", "template", "try", archive)
    name = f"registry.example.org/imagery/muniflow-blur:{muniflow.__version__}"
    assert f"image: {name}@{digest}\n" in rendered.stdout
    # A mirror, or another build, has other digests.
    for other in ("image.registry=mirror.example.org", "image.tag=0.0.9", "steps.blur.image.tag=0.0.9"):
        rendered = run("helm", "template", "try", archive, "--set", other)
        assert "/muniflow-blur:" in rendered.stdout
        assert digest not in rendered.stdout


def test_the_notes_say_where_images_must_come_from() -> None:
    bare, named = (
        run("helm", "install", "try", CHART, "--dry-run=client", *arguments).stdout.split("NOTES:")[1]
        for arguments in ((), ("--set", "image.registry=registry.example.org/imagery"))
    )
    assert f"muniflow-*:{muniflow.__version__}" in bare
    assert "make images images-load" in bare
    assert "Images come from registry.example.org/imagery" in named
    for notes in (bare, named):
        assert "muniflow doctor --namespace default" in notes


def program(folder: Path, name: str, text: str) -> None:
    """A stand-in for a program that is not here."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.mark.parametrize(("context", "said"), [
    ("kind-try", "kind load docker-image --name try muniflow-blur:9 muniflow-gateway:9"),
    ("minikube", "minikube --profile minikube image load muniflow-gateway:9"),
    ("production", "neither kind's nor minikube's"),
])  # fmt: skip
def test_images_go_into_a_local_cluster(tmp_path: Path, context: str, said: str) -> None:
    """The programs are stand-ins that print what they are asked: neither cluster runs here."""
    targets = {"target": {name: {"tags": [f"muniflow-{name}:9"]} for name in ("gateway", "blur")}}
    program(tmp_path, "docker", f"[ \"$1\" = image ] || echo '{json.dumps(targets)}'")
    program(tmp_path, "kubectl", f"echo {context}")
    program(tmp_path, "kind", 'echo kind "$@"')
    program(
        tmp_path, "minikube", '[ "$1" = profile ] && echo \'{"valid": [{"Name": "minikube"}]}\' || echo minikube "$@"'
    )
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([ROOT / "scripts" / "images-load"], check=False, capture_output=True, text=True, env=env)
    assert said in done.stdout + done.stderr
    assert done.returncode == (context == "production")


DOCKER = r"""
echo "$@" >> "$0.log"
case "$1 $2" in
    "image inspect") case "$*" in *rabbitmq*) [ -e "$0.pulled" ] || exit 1 ;; esac; echo "${REVISION:-abc}" ;;
    "pull "*) touch "$0.pulled" ;;
    "save "*) echo saved ;;
    "push "*) echo "0.1.0: digest: sha256:$(printf %s "$2" | sha256sum | cut -c -64) size: 9" ;;
esac
"""


def test_a_bundle_is_loaded_into_a_registry_inside_and_the_chart_names_each_image_by_its_digest_there(
    tmp_path: Path,
) -> None:
    """Docker is a stand-in; docs/research/deploy.md tells of a trial with a real one."""
    program(tmp_path, "docker", DOCKER)
    own = tmp_path / "own.yaml"
    own.write_text("steps: {chain: {operations: [resize, split], image: {repository: muniflow-steps}}}")
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    registry = "registry.inside:5000/imagery"
    folder = tmp_path / "bundle"

    def ended(*command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            list(map(str, command)), check=False, capture_output=True, text=True, env={**env, **variables}
        )

    made = ended(sys.executable, ROOT / "scripts" / "bundle", folder, "--values", own)
    assert made.returncode == 0, made.stderr
    names = [line.split()[1] for line in (folder / "images.txt").read_text().splitlines()]
    asked = (tmp_path / "docker.log").read_text()
    assert f"muniflow-steps:{muniflow.__version__}" in names
    assert f"save {' '.join(names)}\n" in asked
    assert re.findall("pull (.*)", asked) == [name for name in names if "rabbitmq" in name]
    assert ended(sys.executable, ROOT / "scripts" / "bundle", folder).stderr == f"bundle: {folder} is not empty\n"

    (folder / "images.tar.gz").rename(tmp_path / "kept")
    (folder / "images.tar.gz").write_bytes(b"another")
    assert "not what was packed" in ended(folder / "load", registry).stderr
    (tmp_path / "kept").rename(folder / "images.tar.gz")
    assert "of another one" in ended(folder / "load", registry, REVISION="def").stderr
    for _ in range(2):
        loaded = ended(folder / "load", registry)
        assert loaded.returncode == 0, loaded.stderr
    values = ("--values", own, "--values", folder / "values.yaml")
    chart = folder / f"muniflow-{muniflow.__version__}.tgz"
    rendered = run("helm", "template", "try", chart, *values).stdout
    images = set(re.findall(r'^\s*(?:- )?image: "?([^"\s]+)"?$', rendered, re.MULTILINE))
    assert len(images) == len(names)
    assert all(re.fullmatch(rf"{registry}/[\w./-]+:[\w.-]+@sha256:[0-9a-f]{{64}}", image) for image in images), images


def test_workflows_run_what_a_person_runs() -> None:
    ci = WORKFLOWS["ci"]["jobs"]
    steps = [step.get("run", "") for job in ci.values() for step in job["steps"]]
    for command in (".ci/run", "make images", "make images-load", "tests/e2e/run", "make lint-workflows"):
        assert any(command in step for step in steps), command
    release = " ".join(step.get("run", "") for step in WORKFLOWS["release"]["jobs"]["release"]["steps"])
    assert "scripts/release" in release
    for workflow in WORKFLOWS.values():
        assert workflow["permissions"] == {"contents": "read"}
        assert all("timeout-minutes" in job for job in workflow["jobs"].values() if "steps" in job)
    named = {path for text in steps for path in re.findall(r"(?:scripts|tests|tools)/[\w./-]+", text)}
    assert all((ROOT / path).exists() for path in named)


def test_actions_of_others_are_pinned_by_commit() -> None:
    used = [
        step["uses"]
        for workflow in WORKFLOWS.values() for job in workflow["jobs"].values() for step in job.get("steps", ())
        if "uses" in step
    ]  # fmt: skip
    assert len(used) >= 8
    assert [each for each in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", each)] == []


def test_actionlint_finds_nothing() -> None:
    linter = shutil.which("actionlint")
    if linter is None:
        pytest.skip("actionlint is not here: make lint-workflows")
    done = subprocess.run([linter, "-no-color"], cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
