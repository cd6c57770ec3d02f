"""The bench: an API server, nodes, a process kubelet, and the chart installed by helm."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from tests.cluster.control_plane import ControlPlane
from tests.cluster.kubelet import Kubelet
from tests.cluster.nodes import POOLS
from tests.deploy.chart import CHART, NAMESPACE, RELEASE, tool
from tests.support.waiting import eventually

from muniflow.runtime.startable import Startable

MEMORY = Path("/dev/shm")  # noqa: S108 - overlays need a file system that may be their upper layer
STAGES = ("shrink", "cut", "soften")
UNINSTALL_S = 150.0
"""The longest grace period of a pod is 90 s."""


def values(**more: Any) -> dict[str, Any]:
    """Of a release whose stages sleep, on the bench's broker and a shared volume; `more` is added at the top."""
    steps = {name: {"image": {"repository": "muniflow-nap"}} for name in STAGES}
    base: dict[str, Any] = {
        "steps": {"resize": None, "split": None, "blur": None, **steps},
        "stepDefaults": {"nodeSelector": {"pool": "cpu"}, "resources": {"requests": {"cpu": "1", "memory": "256Mi"}}},
        "coordinator": {"nodeSelector": {"pool": "system"}},
        "gateway": {"enabled": False},
        "broker": {"kind": "external", "external": {"existingSecret": "broker"}},
        "store": {"kind": "volume", "volume": {"existingClaim": "store"}},
        "test": {"enabled": False},
    }
    return merged(base, more)


def merged(base: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """As helm joins values files: maps key by key."""
    found = dict(base)
    for name, value in more.items():
        old = found.get(name)
        found[name] = merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return found


@dataclass
class Bench(Startable):
    """`with Bench(binaries, folder) as bench: bench.install(values(...))`."""

    programs: Path
    folder: Path
    namespace: str = NAMESPACE
    _stack: ExitStack = field(default_factory=ExitStack, init=False)

    def start(self) -> None:
        """The control plane, nodes, and a namespace of the profile `restricted`."""
        enter = self._stack.enter_context
        self.plane = enter(ControlPlane(self.programs, self.folder / "plane"))
        self.api = self.plane.api
        self._memory = Path(tempfile.mkdtemp(prefix="bench-", dir=MEMORY))
        self._stack.callback(shutil.rmtree, self._memory, ignore_errors=True)
        self.kubelet = enter(Kubelet(self.api, self._memory, POOLS))
        self._make_namespace(self.namespace)

    def stop(self) -> None:
        self._stack.close()

    @contextmanager
    def within(self, namespace: str) -> Iterator[None]:
        """Work in a new namespace, so that what other tests left is not in the way."""
        self._make_namespace(namespace)
        before, self.namespace = self.namespace, namespace
        try:
            yield
        finally:
            self.namespace = before

    def _make_namespace(self, name: str) -> None:
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        self.api.post("/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})
        if self.plane.managed:  # a controller publishes the rest
            return
        authority = {"ca.crt": self.plane.authority.certificate.read_text()}
        body = {"metadata": {"name": "kube-root-ca.crt"}, "data": authority}
        self.api.post(f"/api/v1/namespaces/{name}/configmaps", body)

    # The release

    def install(self, settings: Mapping[str, Any], *flags: str) -> str:
        """`helm upgrade --install` with these values; returns what it said."""
        path = self.folder / "values.yaml"
        path.write_text(yaml.safe_dump(dict(settings)))
        return self.helm("upgrade", "--install", RELEASE, str(CHART), "--values", str(path), *flags)

    def uninstall(self) -> None:
        """Take the release away and wait until no pod of it is left; the claims and what is on them stay."""
        self.helm("uninstall", RELEASE, "--wait", "--timeout", "3m")
        pods = f"/api/v1/namespaces/{self.namespace}/pods"
        eventually(lambda: not self.api.items(pods), UNINSTALL_S, "no pod is left", every_s=0.5)

    def helm(self, *arguments: str) -> str:
        command = [tool("helm"), *arguments, "--namespace", self.namespace, "--kubeconfig", str(self.plane.kubeconfig)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def replicas(self) -> dict[str, int]:
        """The replicas that each stage's Deployment states."""
        found = self.api.items(f"/apis/apps/v1/namespaces/{self.namespace}/deployments")
        return {item["metadata"]["name"].removeprefix(f"{RELEASE}-step-"): item["spec"]["replicas"] for item in found}

    def scaled(self) -> dict[str, tuple[int, int]]:
        """The replicas that each stage's Deployment states, and those that are ready."""
        found = {}
        for item in self.api.items(f"/apis/apps/v1/namespaces/{self.namespace}/deployments"):
            name = item["metadata"]["name"].removeprefix(f"{RELEASE}-step-")
            found[name] = (item["spec"]["replicas"], item.get("status", {}).get("readyReplicas", 0))
        return found

    def claim(self, name: str, mode: str) -> None:
        """A claim with its volume."""
        size, volume = {"storage": "50Gi"}, f"{self.namespace}-{name}"
        self.api.post("/api/v1/persistentvolumes", {
            "metadata": {"name": volume},
            "spec": {
                "capacity": size, "accessModes": [mode], "storageClassName": "",
                "hostPath": {"path": f"/bench/{volume}"},
                "claimRef": {"namespace": self.namespace, "name": name},
            },
        })  # fmt: skip
        wanted = {"accessModes": [mode], "storageClassName": "", "resources": {"requests": size}, "volumeName": volume}
        claims = f"/api/v1/namespaces/{self.namespace}/persistentvolumeclaims"
        self.api.post(claims, {"metadata": {"name": name}, "spec": wanted})
