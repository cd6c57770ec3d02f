"""One pod of the process kubelet: a thread that starts it, probes it, reports it and ends it."""

import shutil
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import urllib3
from tests.cluster.api import Object, Refused
from tests.cluster.nodes import seconds_now
from tests.cluster.pod_process import Container, Mount
from tests.cluster.volumes import PodMaterial

if TYPE_CHECKING:
    from tests.cluster.kubelet import Kubelet

LOOK_S = 0.25
MISSING_S = 1.0
FIRST_PROBES_S = 1.0
"""Between probes until the first success; then as the pod says."""


class Pod:
    """Its process is what it says in `process`; `ready` is what its probe answered last."""

    def __init__(self, kubelet: "Kubelet", item: Object, address: str) -> None:
        self.uid: str = item["metadata"]["uid"]
        self.name: str = item["metadata"]["name"]
        self.namespace: str = item["metadata"]["namespace"]
        self.labels: dict[str, str] = item["metadata"].get("labels", {})
        self.node: str = item["spec"]["nodeName"]
        self.address = address
        self.ready = False
        self.ready_after_s: float | None = None
        """Seconds from the binding to a node until the first success of its probe."""
        self.restarts = 0
        self._kubelet = kubelet
        self._item = item
        self._began_s = time.monotonic()
        self._base = kubelet.folder / "pods" / self.uid
        self.log: Path = kubelet.folder / "logs" / f"{self.name}.log"
        self._container: Container | None = None
        self._grace_s: float | None = None
        self._wake = threading.Event()
        self._abandoned = False
        self._thread = threading.Thread(target=self._live, name=self.name, daemon=True)

    @property
    def ending(self) -> bool:
        """Whether it was told to end."""
        return self._grace_s is not None or self._abandoned

    @property
    def started(self) -> bool:
        """Whether it has a process."""
        return self._container is not None and self._container.process is not None

    @property
    def pid(self) -> int:
        """Of its first process."""
        assert self._container is not None
        assert self._container.process is not None
        return self._container.process.pid

    def run(self) -> None:
        """Begin."""
        self._thread.start()

    def delete(self, grace_s: float) -> None:
        """End it; a second call may only shorten its time."""
        if self._grace_s is None or grace_s < self._grace_s:
            self._grace_s = grace_s
        self._wake.set()

    def abandon(self) -> None:
        """Its node is gone: kill its processes, tell nobody."""
        self._abandoned = True
        self._wake.set()
        if self._container is not None:
            self._container.kill()
        self._thread.join(10)
        shutil.rmtree(self._base, ignore_errors=True)

    def signal(self, number: int) -> None:
        """To its first process."""
        assert self._container is not None
        self._container.signal(number)

    # Its thread

    def _live(self) -> None:
        try:
            while not self.ending and self._run_once():
                self.restarts += 1
                self._wake.wait(self._kubelet.backoff_s)
            if self._abandoned:
                return
            if self._grace_s is None:  # it has ended for good; its object goes when somebody deletes it
                self._wake.wait()
            if not self._abandoned:
                self._end()
        except (Refused, urllib3.exceptions.HTTPError, OSError, KeyError) as error:
            with self.log.open("a") as log:
                log.write(f"kubelet: {error!r}\n")
            self._kubelet.ended(self)

    def _run_once(self) -> bool:
        """Run its container until it ends or has to; returns whether it should be started again."""
        spec = self._item["spec"]["containers"][0]
        while not self._start(spec):
            if self._wake.wait(MISSING_S):
                return False
        probe, next_probe_s = spec.get("readinessProbe"), 0.0
        self._report(ready=probe is None)
        assert self._container is not None
        while not self.ending:
            if (code := self._container.exit_code) is not None:
                return self._exited(code)
            if probe and time.monotonic() >= next_probe_s:
                self._probe(probe)
                next_probe_s = time.monotonic() + (
                    float(probe.get("periodSeconds", 10)) if self.ready else FIRST_PROBES_S
                )
            self._wake.wait(LOOK_S)
        return False

    def _start(self, spec: Object) -> bool:
        """Start its container; `False` while a Secret or another thing that it needs is not there."""
        self._item["status"]["podIP"] = self.address
        kubelet = self._kubelet
        self.log.parent.mkdir(exist_ok=True)
        material = PodMaterial(kubelet.api, self._base, kubelet.folder / "claims")
        server = urlsplit(kubelet.api.url)
        try:
            variables = [*material.variables(self._item, spec, (str(server.hostname), str(server.port)))]
            mounts = [*material.mounts(self._item, spec), Mount(kubelet.hosts, "/etc/hosts")]
        except (Refused, KeyError) as lacking:
            with self.log.open("a") as log:
                log.write(f"kubelet: not started yet: {lacking!r}\n")
            return False
        shutil.rmtree(self._base / "upper", ignore_errors=True)
        shutil.rmtree(self._base / "work", ignore_errors=True)
        self._container = Container(self._base, self.log)
        self._container.start(self._item, spec, variables, mounts, self.address)
        kubelet.starts += 1
        return True

    def _probe(self, probe: Object) -> None:
        ports = {port["name"]: port["containerPort"] for port in self._item["spec"]["containers"][0].get("ports", ())}
        port = probe["httpGet"]["port"]
        url = f"http://{self.address}:{ports.get(port, port)}{probe['httpGet']['path']}"
        try:
            with urllib.request.urlopen(url, timeout=float(probe.get("timeoutSeconds", 1))) as answer:
                ready = answer.status < 400
        except (OSError, urllib.error.HTTPError):
            ready = False
        if ready != self.ready:
            if ready and self.ready_after_s is None:
                self.ready_after_s = time.monotonic() - self._began_s
            self._report(ready=ready)

    def _exited(self, code: int) -> bool:
        policy = self._item["spec"].get("restartPolicy", "Always")
        if policy == "Always" or (policy == "OnFailure" and code != 0):
            self._report(ready=False)
            return True
        self.ready = False
        exit_code = code if code >= 0 else 128 - code
        state = {"terminated": {"exitCode": exit_code, "reason": "Completed" if code == 0 else "Error"}}
        self._patch("Succeeded" if code == 0 else "Failed", state)
        return False

    def _report(self, *, ready: bool) -> None:
        self.ready = ready
        self._patch("Running", {"running": {"startedAt": seconds_now()}})
        self._kubelet.changed()

    def _patch(self, phase: str, state: Object) -> None:
        container = self._item["spec"]["containers"][0]
        answer = "True" if self.ready else "False"
        conditions = [
            {"type": kind, "status": value, "lastTransitionTime": seconds_now()}
            for kind, value in (("Initialized", "True"), ("ContainersReady", answer), ("Ready", answer))
        ]
        status: Any = {
            "phase": phase, "podIP": self.address, "podIPs": [{"ip": self.address}], "hostIP": "127.0.0.1",
            "startTime": self._item["metadata"]["creationTimestamp"], "conditions": conditions,
            "containerStatuses": [{
                "name": container["name"], "image": container["image"], "imageID": "", "ready": self.ready,
                "restartCount": self.restarts, "started": True, "state": state,
            }],
        }  # fmt: skip
        self._tell(lambda: self._kubelet.api.patch(f"{self._path}/status", {"status": status}, "strategic"))

    def _end(self) -> None:
        """SIGTERM, wait, SIGKILL; unready at once, so that no Service leads to it."""
        self.ready = False
        self._kubelet.changed()
        if self._container is not None:
            end_s = time.monotonic() + (self._grace_s or 0.0)
            if self._grace_s:
                self._container.terminate()
            while self._container.exit_code is None and time.monotonic() < end_s and not self._abandoned:
                if self._grace_s == 0:
                    break
                time.sleep(LOOK_S)
            self._container.kill()
        shutil.rmtree(self._base, ignore_errors=True)
        self._tell(lambda: self._kubelet.api.delete(self._path, 0))
        self._kubelet.ended(self)

    def _tell(self, ask: Callable[[], object]) -> None:
        """Ask until the API server answers; a refusal means that the pod was deleted meanwhile."""
        while not self._abandoned:
            try:
                ask()
            except Refused:
                return
            except urllib3.exceptions.HTTPError:
                time.sleep(MISSING_S)
            else:
                return

    @property
    def _path(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"
