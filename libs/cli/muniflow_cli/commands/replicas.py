"""How many pods each operation has, from the cluster; imported only when there is one."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from muniflow.runtime.settings import variable
from muniflow_cli.commands.cluster import list_ours

OPERATIONS = variable("operations")
"""In the environment of every worker: what its Deployment carries. Its labels only have the name of the stage."""


@dataclass(frozen=True)
class Replicas:
    """The pods that carry one operation."""

    wanted: int
    ready: int


def read_replicas(context: str | None, namespace: str | None) -> dict[str, Replicas]:
    """The replicas of each operation. Arguments and errors are those of `list_ours`."""
    return _by_operation(list_ours("deployments", context, namespace))


def _by_operation(deployments: Iterable[Any]) -> dict[str, Replicas]:
    """Add up, by operation: one Deployment may carry several, and one operation may have several Deployments."""
    found: dict[str, Replicas] = {}
    # The library's types allow every field to be missing; a Deployment from the cluster has them all.
    for item in deployments:
        wanted, ready = item.spec.replicas or 0, item.status.ready_replicas or 0
        for operation in _operations_of(item):
            before = found.get(operation, Replicas(0, 0))
            found[operation] = Replicas(before.wanted + wanted, before.ready + ready)
    return found


def _operations_of(deployment: Any) -> list[str]:
    """The operations that it carries; none, where its pods are no workers."""
    containers = deployment.spec.template.spec.containers
    texts = [each.value or "" for one in containers for each in one.env or [] if each.name == OPERATIONS]
    return [name for text in texts for name in text.split(",") if name]
