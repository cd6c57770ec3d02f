"""Karpenter on the bench: its own binary with its provider of nodes that are only objects.

Real: Karpenter's scheduling, its NodePools and NodeClaims, its consolidation. Stands in: a bought node is an object
that the process kubelet takes over as soon as it appears; machines, their sizes and prices are the list below.
"""

import json
import threading
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import urllib3
import yaml
from tests.cluster.api import Object, Refused
from tests.cluster.bench import Bench
from tests.cluster.nodes import GPU, GPU_TAINT, Node
from tests.cluster.objects import Objects
from tests.cluster.programs import Program
from tests.support.waiting import eventually

from muniflow.runtime.startable import Startable
from muniflow_cli.stack.ports import free_ports, is_open

PROGRAM = "karpenter"
POOL, GPU_POOL = "bought", "bought-gpu"
"""Label `pool` of its nodes."""
OURS = f"pool in ({POOL},{GPU_POOL})"
CORES = "karpenter.kwok.sh/instance-cpu"
CONSOLIDATE_AFTER_S = 10
LOOK_S = 0.5
MACHINES = ((1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (32, 0), (64, 0), (8, 1), (32, 4))
"""Cores and GPUs of what it may buy."""
CORE_PRICE, GPU_PRICE = 0.03, 0.5
"""An hour; about what clouds ask for general machines and for small GPUs."""
CAPACITY_TYPE, ZONE = "karpenter.sh/capacity-type", "topology.kubernetes.io/zone"
NODE_CLASS = {"apiVersion": "karpenter.kwok.sh/v1alpha1", "kind": "KWOKNodeClass", "metadata": {"name": POOL}}


def machine(cores: int, gpus: int) -> Object:
    """An entry of the list that its provider reads."""
    resources = {"cpu": f"{cores}", "memory": f"{2 * cores}Gi", "ephemeral-storage": "100Gi", "pods": "110"}
    where = [in_(CAPACITY_TYPE, "on-demand"), in_(ZONE, "zone-a")]
    return {
        "name": machine_name(cores, gpus), "architecture": "amd64", "operatingSystems": ["linux"],
        "offerings": [{"Price": CORE_PRICE * cores + GPU_PRICE * gpus, "Available": True, "Requirements": where}],
        "resources": resources | ({GPU: f"{gpus}"} if gpus else {}),
    }  # fmt: skip


def machine_name(cores: int, gpus: int) -> str:
    return f"g-{cores}x-{gpus}" if gpus else f"c-{cores}x"


def in_(key: str, *values: str) -> Object:
    return {"key": key, "operator": "In", "values": list(values)}


def node_pool(name: str, taints: Sequence[Object] = (), *, gpus: bool = False) -> Object:
    """Machines with GPUs, or those without."""
    types = [machine_name(*one) for one in MACHINES if bool(one[1]) is gpus]
    requirements = [in_(CAPACITY_TYPE, "on-demand"), in_("node.kubernetes.io/instance-type", *types)]
    node_class = {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": POOL}
    spec = {"requirements": requirements, "nodeClassRef": node_class, "taints": list(taints)}
    return {
        "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": name},
        "spec": {
            "template": {"metadata": {"labels": {"pool": name}}, "spec": spec},
            "disruption": {
                "consolidationPolicy": "WhenEmptyOrUnderutilized", "consolidateAfter": f"{CONSOLIDATE_AFTER_S}s",
                "budgets": [{"nodes": "100%"}],
            },
        },
    }  # fmt: skip


CPU_NODES, GPU_NODES = node_pool(POOL), node_pool(GPU_POOL, [dict(GPU_TAINT)], gpus=True)


class BoughtNode(Node):
    """It says that it is ready; its size is what Karpenter wrote."""

    def status(self) -> Object:
        return {"status": {"conditions": super().status()["status"]["conditions"]}}


@dataclass
class Karpenter(Startable):
    """`with Karpenter(bench, folder): ...` buys nodes for pods that do not fit, and gives them back."""

    bench: Bench
    folder: Path
    preferences: str = "Respect"
    """PREFERENCE_POLICY; this is Karpenter's default."""
    _stack: ExitStack = field(default_factory=ExitStack, init=False)

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._define()
        metrics, health = free_ports(2)
        variables = {
            "PREFERENCE_POLICY": self.preferences, "DISABLE_LEADER_ELECTION": "true", "KARPENTER_SERVICE": PROGRAM,
            "METRICS_PORT": str(metrics), "HEALTH_PROBE_PORT": str(health), "SYSTEM_NAMESPACE": "kube-system",
            "KUBECONFIG": str(self.bench.plane.kubeconfig), "INSTANCE_TYPES_FILE_PATH": str(self._machines()),
        }  # fmt: skip
        binary = str(self.bench.plane.programs / PROGRAM)
        log = self.folder / "karpenter.log"
        self._program = Program(PROGRAM, [binary], log, lambda: is_open(health), variables=variables)
        self._stack.callback(self._give_back)
        self._stack.enter_context(self._program)
        self._stopping = threading.Event()
        watching = threading.Thread(target=self._take_over_for_ever, daemon=True)
        watching.start()
        self._stack.callback(watching.join, 30)
        self._stack.callback(self._stopping.set)

    def stop(self) -> None:
        self._stack.close()

    def cores(self) -> list[int]:
        """Of each node that it has bought."""
        return sorted(int(item["metadata"]["labels"][CORES]) for item in self._bought())

    def gpus(self) -> list[int]:
        """Of each node that it has bought and that has some."""
        found = (int(item.get("status", {}).get("capacity", {}).get(GPU, 0)) for item in self._bought())
        return sorted(gpus for gpus in found if gpus)

    def tail(self) -> str:
        """The end of its log."""
        return self._program.tail

    def _bought(self) -> list[Object]:
        return self.bench.api.items("/api/v1/nodes", labelSelector=OURS)

    def _machines(self) -> Path:
        path = self.folder / "machines.json"
        path.write_text(json.dumps([machine(*one) for one in MACHINES]))
        return path

    def _define(self) -> None:
        objects = Objects(self.bench.api).discover()
        for path in sorted((self.bench.plane.programs / "definitions").glob("*karpenter*.yaml")):
            objects.apply(yaml.safe_load(path.read_text()))
        eventually(lambda: all(objects.discover().knows(one) for one in (NODE_CLASS, CPU_NODES)), what="its kinds")
        for one in (NODE_CLASS, CPU_NODES, GPU_NODES):
            objects.apply(one)

    def _take_over_for_ever(self) -> None:
        """Have the kubelet run the pods of each node that appears, and forget each that is gone."""
        known: set[str] = set()
        while not self._stopping.wait(LOOK_S):
            with suppress(Refused, urllib3.exceptions.HTTPError):
                found = {item["metadata"]["name"] for item in self._bought()}
                for name in found - known:
                    self.bench.kubelet.gain(BoughtNode(name, POOL))
                for name in known - found:
                    self.bench.kubelet.lose(name)
                known = found

    def _give_back(self) -> None:
        """Take away what it left: without Karpenter nobody ends its nodes and claims."""
        for kind in ("apis/karpenter.sh/v1/nodeclaims", "api/v1/nodes"):
            for item in self.bench.api.items(f"/{kind}", labelSelector=OURS):
                path = f"/{kind}/{item['metadata']['name']}"
                with suppress(Refused):
                    self.bench.api.patch(path, {"metadata": {"finalizers": None}})
                self.bench.api.delete(path)
                with suppress(KeyError):
                    self.bench.kubelet.lose(item["metadata"]["name"])
