"""A process kubelet for all nodes: a Ready pod is a real process, a deleted one gets SIGTERM and its grace period.

It stands in for kubelet, container runtime, kube-proxy and cluster DNS: containers are processes of this machine
(`pod_process`), each pod has an address of its own on loopback, and names of Services are lines of its `/etc/hosts`,
one for each ready pod behind them. It has readiness probes and restarts, no liveness probes, no init containers, and
runs the first container of a pod.
"""

import itertools
import os
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import urllib3
from tests.cluster.api import Api, Object, Refused
from tests.cluster.nodes import Node, beat, join
from tests.cluster.pod import Pod

from muniflow.runtime.startable import Startable

BEAT_S = 10.0
HOSTS = "127.0.0.1 localhost\n"
STOP_S = 60.0


@dataclass
class Kubelet(Startable):
    """`with Kubelet(api, folder, nodes): ...` runs the pods that the scheduler binds to these nodes."""

    api: Api
    folder: Path
    """On a file system that an overlay may write to (tmpfs)."""
    nodes: Iterable[Node]
    listeners: list[Callable[[], None]] = field(default_factory=list)
    """Called when a pod became ready or unready, or ended."""

    backoff_s: float = 2.0
    """Before a container that ended is started again; a real kubelet's first is 10 s."""

    def __post_init__(self) -> None:
        self.pods: dict[str, Pod] = {}
        """What runs or ends, by uid."""
        self.starts = 0
        """Containers that were started, restarts included."""
        self._alive = {node.name: node for node in self.nodes}
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._numbers = itertools.count(1)
        self._block = 100 + os.getpid() % 100  # two benches may run at the same time
        self._lock = threading.RLock()
        self.hosts = self.folder / "hosts"

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        self.hosts.write_text(HOSTS)
        for node in self._alive.values():
            join(self.api, node)
        for loop in (self._watch_for_ever, self._beat_for_ever):
            self._threads.append(threading.Thread(target=loop, daemon=True))
            self._threads[-1].start()

    def stop(self) -> None:
        """End all processes at once; what the API server thinks of them does not matter any more."""
        self._stopping.set()
        for pod in list(self.pods.values()):
            pod.abandon()
        for thread in self._threads:
            thread.join(STOP_S)

    # What tests do to it

    def named(self, prefix: str) -> list[Pod]:
        """The pods whose names begin so, that are not ending."""
        with self._lock:
            return sorted(
                (pod for pod in self.pods.values() if pod.name.startswith(prefix) and not pod.ending),
                key=lambda pod: pod.name,
            )

    def lose(self, node: str) -> None:
        """A node's power fails: its processes are gone, and nobody renews its lease."""
        with self._lock:
            self._alive.pop(node)
            gone = [pod for pod in self.pods.values() if pod.node == node]
            for pod in gone:
                self.pods.pop(pod.uid)
        for pod in gone:
            pod.abandon()
        self._changed()

    def gain(self, node: Node) -> None:
        """A node joins, perhaps again."""
        self._alive[node.name] = node
        join(self.api, node)

    # Loops

    def _beat_for_ever(self) -> None:
        while not self._stopping.wait(BEAT_S):
            for node in list(self._alive.values()):
                with suppress(Refused, urllib3.exceptions.HTTPError):
                    beat(self.api, node)

    def _watch_for_ever(self) -> None:
        while not self._stopping.is_set():
            with suppress(Refused, urllib3.exceptions.HTTPError):
                found = self.api.get("/api/v1/pods")
                self._all(found["items"])
                for event in self.api.watch("/api/v1/pods", found["metadata"]["resourceVersion"]):
                    if self._stopping.is_set():
                        return
                    if event["type"] == "ERROR":
                        break
                    self._one(event["object"], gone=event["type"] == "DELETED")
            self._stopping.wait(0.2)

    def _all(self, items: list[Object]) -> None:
        there = {item["metadata"]["uid"] for item in items}
        for item in items:
            self._one(item)
        for pod in [pod for uid, pod in self.pods.items() if uid not in there]:
            pod.delete(0.0)

    def _one(self, item: Object, *, gone: bool = False) -> None:
        uid, node = item["metadata"]["uid"], item["spec"].get("nodeName")
        with self._lock:
            known = self.pods.get(uid)
            new = known is None and not gone and node in self._alive
            if (
                new
                and item["status"].get("phase", "Pending") == "Pending"
                and "deletionTimestamp" not in item["metadata"]
            ):
                number = next(self._numbers)
                address = f"127.{self._block}.{number // 250}.{number % 250 + 1}"
                self.pods[uid] = Pod(self, item, address)
                self.pods[uid].run()
                return
        if gone and known is not None:
            known.delete(0.0)
        elif "deletionTimestamp" in item["metadata"]:
            grace_s = float(item["metadata"].get("deletionGracePeriodSeconds") or 0)
            if known is not None:
                known.delete(grace_s)
            elif node in self._alive:
                self._forget(item)

    def _forget(self, item: Object) -> None:
        """A pod of ours that never ran, or ended: nothing is left to end."""
        with suppress(Refused):
            meta = item["metadata"]
            self.api.delete(f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}", 0)

    # What pods tell

    def ended(self, pod: Pod) -> None:
        """A pod's processes are gone and so is its object."""
        with self._lock:
            self.pods.pop(pod.uid, None)
        self._changed()

    def changed(self) -> None:
        """Readiness of a pod changed."""
        self._changed()

    def _changed(self) -> None:
        if self._stopping.is_set():
            return
        with suppress(Refused, urllib3.exceptions.HTTPError), self._lock:
            self._write_hosts(HOSTS + "".join(self._names()))
        for listener in self.listeners:
            listener()

    def _write_hosts(self, lines: str) -> None:
        """In place, as containers have this very file mounted; cut off afterwards, as they read it meanwhile."""
        content = lines.encode()
        with self.hosts.open("r+b", buffering=0) as file:
            file.write(content)
            file.truncate(len(content))

    def _names(self) -> Iterable[str]:
        """Lines of `/etc/hosts`: each Service's names for each ready pod behind it."""
        ready = [pod for pod in self.pods.values() if pod.ready and not pod.ending]
        for service in self.api.items("/api/v1/services"):
            name, space = service["metadata"]["name"], service["metadata"]["namespace"]
            selector = service["spec"].get("selector")
            for pod in ready:
                if selector and pod.namespace == space and selector.items() <= pod.labels.items():
                    yield f"{pod.address} {name}.{space}.svc {name}.{space}.svc.cluster.local {name}.{space} {name}\n"
