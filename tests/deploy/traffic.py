"""Who may talk to whom, by the NetworkPolicies of a rendering."""

from collections.abc import Mapping, Sequence
from typing import Any

from tests.deploy.chart import Document, of_kind
from tests.deploy.policies import matches, pod_labels

COMPONENT = "app.kubernetes.io/component"


def flows(documents: Sequence[Document]) -> set[str]:
    """Allowed flows between the pods of the release, as `step-blur > broker:5672`."""
    labels = {_short(name): own for name, own in pod_labels(documents).items()}
    policies = of_kind(documents, "NetworkPolicy")
    return {
        f"{source} > {target}:{port}"
        for source, from_labels in labels.items()
        for target, to_labels in labels.items()
        for port in _open_ports(policies, from_labels, to_labels)
    }


def outside(documents: Sequence[Document]) -> set[str]:
    """Where pods may go outside the release, as `step-blur:443`."""
    found = set()
    for name, own in pod_labels(documents).items():
        for rule in _rules(of_kind(documents, "NetworkPolicy"), own, "Egress"):
            if "to" not in rule:
                found |= {f"{_short(name)}:{port['port']}" for port in rule["ports"]}
    return found


def isolated(documents: Sequence[Document]) -> dict[str, set[str]]:
    """Directions in which each pod is closed unless a rule opens it."""
    policies = of_kind(documents, "NetworkPolicy")
    return {
        _short(name): {
            direction
            for policy in policies
            if matches(policy["spec"]["podSelector"], own)
            for direction in policy["spec"]["policyTypes"]
        }
        for name, own in pod_labels(documents).items()
    }


def _short(name: str) -> str:
    return name.split("/")[1].removeprefix("muniflow-")


def _open_ports(policies: Sequence[Document], source: Mapping[str, str], target: Mapping[str, str]) -> set[int]:
    out = _ports(_rules(policies, source, "Egress"), "to", target)
    into = _ports(_rules(policies, target, "Ingress"), "from", source)
    return out & into


def _rules(policies: Sequence[Document], labels: Mapping[str, str], direction: str) -> list[Mapping[str, Any]]:
    return [
        rule
        for policy in policies
        if matches(policy["spec"]["podSelector"], labels) and direction in policy["spec"]["policyTypes"]
        for rule in policy["spec"].get(direction.lower()) or ()
    ]


def _ports(rules: Sequence[Mapping[str, Any]], side: str, labels: Mapping[str, str]) -> set[int]:
    return {
        port["port"]
        for rule in rules
        if any("namespaceSelector" not in peer and matches(peer["podSelector"], labels) for peer in rule.get(side, ()))
        for port in rule.get("ports", ({"port": 0},))
    }
