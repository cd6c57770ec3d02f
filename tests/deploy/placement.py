"""Which nodes a pod can be placed on: the scheduler's filters for selectors, affinity, taints and resources."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.deploy.chart import Document
from tests.deploy.policies import matches

UNITS = {"m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
OPERATORS = {"In", "NotIn", "Exists", "DoesNotExist"}


@dataclass(frozen=True)
class Taint:
    """What keeps pods off a node; only effects that do so."""

    key: str
    value: str
    effect: str = "NoSchedule"

    @classmethod
    def parse(cls, text: str) -> "Taint":
        """`key=value:effect`, as kubectl and the clouds write it."""
        pair, _, effect = text.rpartition(":")
        key, _, value = pair.partition("=")
        return cls(key, value, effect)

    def tolerated_by(self, toleration: Mapping[str, Any]) -> bool:
        """As in Kubernetes: no effect or no key means any; the operator is `Equal` if there is none."""
        if toleration.get("effect") not in {None, "", self.effect}:
            return False
        if toleration.get("key") not in {None, "", self.key}:
            return False
        return toleration.get("operator") == "Exists" or toleration.get("value", "") == self.value


@dataclass(frozen=True)
class Node:
    """A node, empty."""

    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    capacity: Mapping[str, float] = field(default_factory=dict)
    """CPUs, bytes of memory, and devices by the name of their resource."""


def misfits(pod: Document, node: Node) -> Iterator[str]:
    """Why the scheduler passes over a node for this pod; nothing if it fits."""
    spec = pod["spec"]
    for key, value in spec.get("nodeSelector", {}).items():
        if node.labels.get(key) != value:
            yield f"selects {key}={value}"
    required = (
        spec.get("affinity", {}).get("nodeAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution", {})
    )
    terms = required.get("nodeSelectorTerms")
    if terms is not None and not any(_holds(term, node.labels) for term in terms):
        yield f"needs one of {terms}"
    for taint in node.taints:
        if not any(taint.tolerated_by(toleration) for toleration in spec.get("tolerations", ())):
            yield f"does not tolerate {taint.key}={taint.value}:{taint.effect}"
    for resource, amount in requests(pod).items():
        if amount > node.capacity.get(resource, 0):
            yield f"asks for {amount:g} {resource}"


def _holds(term: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    assert term.keys() == {"matchExpressions"}, "the model knows no other"
    assert {rule["operator"] for rule in term["matchExpressions"]} <= OPERATORS
    return matches(term, labels)


def requests(pod: Document) -> dict[str, float]:
    """What the scheduler sets aside for a pod: requests, and limits where there is no request."""
    total: dict[str, float] = {}
    for container in pod["spec"]["containers"]:
        stated = container.get("resources", {})
        for resource, amount in {**stated.get("limits", {}), **stated.get("requests", {})}.items():
            total[resource] = total.get(resource, 0) + quantity(amount)
    return total


def quantity(amount: str | float) -> float:
    """Kubernetes' notation as a number: `500m` is 0.5."""
    text = str(amount)
    unit = text.lstrip("0123456789.")
    return float(text.removesuffix(unit)) * (UNITS[unit] if unit else 1)
