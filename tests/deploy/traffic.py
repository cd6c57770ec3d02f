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
    """Where pods may go outside the release: `step-blur:443` is anywhere, `step-blur:53 kube-system` is a namespace."""
    return {
        f"{_short(name)}:{port['port']}{place}"
        for name, own in pod_labels(documents).items()
        for rule in _rules(of_kind(documents, "NetworkPolicy"), own, "Egress")
        for place in ([f" {place}" for peer in rule["to"] for place in _outer(peer)] if "to" in rule else [""])
        for port in rule.get("ports", ())
    }


def into(documents: Sequence[Document], target: str, port: int) -> list[Mapping[str, Any]]:
    """Peers that may reach a port of a pod."""
    own = next(labels for name, labels in pod_labels(documents).items() if _short(name) == target)
    return [
        peer
        for rule in _rules(of_kind(documents, "NetworkPolicy"), own, "Ingress")
        if port in {entry["port"] for entry in rule["ports"]}
        for peer in rule["from"]
    ]


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


def _outer(peer: Mapping[str, Any]) -> list[str]:
    """A peer outside of the namespace: its addresses or the namespace; nothing for pods of the same one."""
    if "ipBlock" in peer:
        return [peer["ipBlock"]["cidr"]]
    if "namespaceSelector" in peer:
        return [*(peer["namespaceSelector"].get("matchLabels") or {"": "any namespace"}).values()]
    return []


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
        if any(not _outer(peer) and matches(peer["podSelector"], labels) for peer in rule.get(side, ()))
        for port in rule.get("ports", ({"port": 0},))
    }
