"""The chart, rendered: `rendered("keda-forecast")` gives the documents of values/keda-forecast.yaml."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from muniflow.runtime.secret_files import SECRETS_DIR

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "muniflow"
VALUES = Path(__file__).parent / "values"
CASES = tuple(sorted(path.stem for path in VALUES.glob("*.yaml")))
RELEASE = "muniflow"
NAMESPACE = "imagery"

Document = Mapping[str, Any]
"""A Kubernetes resource."""


@cache
def tool(name: str) -> str:
    """Path of helm, kubectl or promtool; fetched into a cache the first time."""
    done = script("scripts/deploy-tools")
    assert done.returncode == 0, done.stderr
    path = Path(done.stdout.strip()) / name
    if not path.exists() and not os.environ.get("CI"):
        pytest.skip(f"{name} cannot be had here: {done.stderr}")
    return str(path)


def script(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of our Python scripts with this Python, which has pip."""
    command = [sys.executable, str(ROOT / name), *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=110)


def run(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a tool; the caller looks at how it ended."""
    # They end before they use much memory: the garbage collector would take a third of their time.
    environment = {**os.environ, "HELM_PLUGINS": "/nowhere", "KUBECONFIG": "/dev/null", "GOGC": "off"}
    return subprocess.run(
        [tool(name), *map(str, arguments)], check=False, capture_output=True, text=True, env=environment, timeout=60
    )


def template(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`helm template` of the chart."""
    return run("helm", "template", RELEASE, CHART, "--namespace", NAMESPACE, *arguments)


def load(text: str) -> tuple[Document, ...]:
    """The documents of a YAML stream."""
    return tuple(document for document in yaml.load_all(text, yaml.CSafeLoader) if document)


@cache
def rendered_text(case: str) -> str:
    """What helm writes for a case."""
    done = template("--values", VALUES / f"{case}.yaml")
    assert done.returncode == 0, done.stderr
    return done.stdout


@cache
def rendered(case: str) -> tuple[Document, ...]:
    """The documents of a case."""
    return load(rendered_text(case))


def values_of(case: str) -> dict[str, Any]:
    """What a case sets."""
    return yaml.safe_load((VALUES / f"{case}.yaml").read_text()) or {}


def of_kind(documents: Sequence[Document], *kinds: str) -> list[Document]:
    """The documents of these kinds."""
    return [document for document in documents if document["kind"] in kinds]


def name_of(document: Document) -> str:
    """`Deployment/muniflow-step-blur`."""
    return f"{document['kind']}/{document['metadata']['name']}"


def pods(documents: Sequence[Document]) -> dict[str, Document]:
    """Pod templates (metadata and spec) by the name of what makes them."""
    found = {}
    for document in documents:
        if document["kind"] in {"Deployment", "StatefulSet", "DaemonSet", "Job"}:
            found[name_of(document)] = document["spec"]["template"]
        elif document["kind"] == "Pod":
            found[name_of(document)] = document
    return found


def containers(pod: Document) -> list[Document]:
    """All containers of a pod."""
    return [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]


def environment(pod: Document) -> dict[str, str]:
    """The plain variables of a pod's first container, without the folder of secrets, which is not here."""
    variables = pod["spec"]["containers"][0].get("env", ())
    return {item["name"]: item.get("value", "") for item in variables if item["name"] != SECRETS_DIR}


def files_of(documents: Sequence[Document], name: str) -> dict[str, tuple[str, str]]:
    """The secrets of a pod: by file, the Secret and its key; `*` is every key of it."""
    (volume,) = (each for each in pods(documents)[name]["spec"]["volumes"] if each["name"] == "secrets")
    found = {}
    for source in volume["projected"]["sources"]:
        secret = source["secret"]
        for item in secret.get("items", [{"key": "*", "path": f"{secret['name']}/*"}]):
            found[item["path"]] = (secret["name"], item["key"])
    return found
