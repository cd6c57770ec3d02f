"""Checks of a cluster for `doctor`: what its pods wait for."""

from collections.abc import Iterable, Iterator
from typing import Any

from muniflow.errors import MuniflowError
from muniflow_cli.commands.cluster import list_ours
from muniflow_cli.commands.findings import Finding

PULL_REASONS = frozenset(
    {"ErrImageNeverPull", "ErrImagePull", "ImageInspectError", "ImagePullBackOff", "InvalidImageName"}
)
"""Why a container waits, as the kubelet says it, when its image cannot be had."""
REFUSED = ("unauthorized", "denied", "forbidden", "401", "403")
ABSENT = ("not found", "manifest unknown", "no match for platform", "does not exist")
MAX_CHARS = 200
"""Characters kept of what the kubelet says."""


def check_cluster(context: str | None, namespace: str | None) -> list[Finding]:
    """What keeps pods of muniflow from running, each image once. Arguments are those of `list_ours`."""
    try:
        pods = list_ours("pods", context, namespace)
    except MuniflowError as error:
        return [Finding("error", "cluster", str(error), "check --context, --namespace and your right to list pods")]
    if not pods:
        to_do = "`helm install` (docs/guides/deploy.md), or name the namespace with --namespace"
        return [Finding("error", "cluster", "no pod of muniflow is there", to_do)]
    findings = [*_images(pods), *_unscheduled(pods)]
    return findings or [Finding("ok", "cluster", f"{len(pods)} pods; none waits for an image or for a node")]


def _images(pods: Iterable[Any]) -> Iterator[Finding]:
    """Images that cannot be pulled."""
    waiting: dict[str, list[Any]] = {}
    for pod in pods:
        for container in (pod.status.init_container_statuses or []) + (pod.status.container_statuses or []):
            state = container.state and container.state.waiting
            if state and state.reason in PULL_REASONS:
                waiting.setdefault(container.image, []).append(state)
    for image, states in sorted(waiting.items()):
        # A pod that backs off no longer says why; another one may.
        said = max((state.message or "" for state in states), key=lambda text: ("Back-off" not in text, len(text)))
        what = f"{len(states)} containers wait for it: {states[0].reason} {said[:MAX_CHARS]}".rstrip()
        yield Finding("error", f"image {image}", what, pull_advice(image, said))


def pull_advice(image: str, said: str) -> str:
    """What to do about an image that cannot be pulled.

    Args:
        image: its name, as in the pod.
        said: what the kubelet says.
    """
    host, slash, _ = image.partition("/")
    lower = said.lower()
    if image.startswith("muniflow-") or not slash:
        return (
            "no registry is set, so the nodes must have it: `make images images-load` (kind, minikube); elsewhere "
            "`make images PUSH=1 REGISTRY=…`, and image.registry of the chart"
        )
    if any(word in lower for word in ABSENT):
        return f"push it to {host} for the nodes' architecture, or correct image.registry and image.tag of the chart"
    if any(word in lower for word in REFUSED):
        return f"let the nodes pull from {host}: image.pullSecrets of the chart, or the rights of the nodes"
    return f"see that the nodes reach {host}; without a way there: docs/guides/release.md, air-gapped"


def _unscheduled(pods: Iterable[Any]) -> Iterator[Finding]:
    """Pods that no node takes."""
    for pod in pods:
        for condition in pod.status.conditions or []:
            if condition.type == "PodScheduled" and condition.status == "False":
                what = f"no node takes it: {(condition.message or condition.reason or '')[:MAX_CHARS]}"
                to_do = "give the cluster room, or the stage other nodes (nodeSelector, tolerations, resources)"
                yield Finding("error", f"pod {pod.metadata.name}", what, to_do)
