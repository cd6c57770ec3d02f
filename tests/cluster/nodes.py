"""Nodes of three pools: objects with capacity, labels and taints, whose status and leases somebody renews."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.cluster.api import Api, Object, Refused

LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
LEASE_S = 40
GPU = "nvidia.com/gpu"
GPU_TAINT = {"key": GPU, "value": "present", "effect": "NoSchedule"}


@dataclass(frozen=True)
class Node:
    """A machine that is only an object; its pods are processes of this one."""

    name: str
    pool: str
    cpu: int = 8
    memory_gi: int = 32
    gpus: int = 0
    taints: Sequence[Mapping[str, str]] = ()
    labels: Mapping[str, str] = field(default_factory=dict)

    def resource(self) -> Object:
        """The object to create."""
        labels = {"kubernetes.io/hostname": self.name, "kubernetes.io/os": "linux", "pool": self.pool, **self.labels}
        labels["topology.kubernetes.io/zone"] = "zone-a"
        metadata = {"name": self.name, "labels": labels}
        return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": {"taints": list(self.taints)}}

    def status(self) -> Object:
        """Ready, with its capacity."""
        capacity = {"cpu": str(self.cpu), "memory": f"{self.memory_gi}Gi", "pods": "110", "ephemeral-storage": "100Gi"}
        if self.gpus:
            capacity[GPU] = str(self.gpus)
        condition = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "the bench's kubelet"}
        return {"status": {
            "capacity": capacity, "allocatable": capacity,
            "conditions": [{**condition, "lastHeartbeatTime": now(), "lastTransitionTime": now()}],
        }}  # fmt: skip


POOLS = (
    Node("system-1", "system"),
    *(Node(f"cpu-{number}", "cpu") for number in range(1, 5)),
    *(Node(f"gpu-{number}", "gpu", gpus=1, taints=(GPU_TAINT,)) for number in (1, 2)),
)


def now() -> str:
    """As Kubernetes writes it."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def seconds_now() -> str:
    """The same for fields that take no fractions."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def join(api: Api, node: Node) -> None:
    """Register a node and report it ready."""
    try:
        api.post("/api/v1/nodes", node.resource())
    except Refused as refused:
        if refused.status != 409:
            raise
    beat(api, node)


def beat(api: Api, node: Node) -> None:
    """Say that a node lives."""
    status: Any = node.status()
    for condition in status["status"]["conditions"]:
        condition["lastHeartbeatTime"] = condition["lastTransitionTime"] = seconds_now()
    api.patch(f"/api/v1/nodes/{node.name}/status", status, "strategic")
    spec = {"holderIdentity": node.name, "leaseDurationSeconds": LEASE_S, "renewTime": now()}
    lease = {
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": node.name, "namespace": "kube-node-lease"}, "spec": spec,
    }  # fmt: skip
    try:
        api.patch(f"{LEASES}/{node.name}", {"spec": spec})
    except Refused as refused:
        if refused.status != 404:
            raise
        api.post(LEASES, lease)
