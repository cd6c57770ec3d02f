"""How many pods each operation has, from the cluster; imported only when there is one."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from muniflow.errors import Fault, Invalid, Unavailable
from muniflow.runtime.settings import variable

PART_OF = "app.kubernetes.io/part-of=muniflow"
OPERATIONS = variable("operations")
"""In the environment of every worker: what its Deployment carries. Its labels only have the name of the stage."""
NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
TIMEOUT_S = 10


@dataclass(frozen=True)
class Replicas:
    """The pods that carry one operation."""

    wanted: int
    ready: int


def in_cluster(env: Mapping[str, str] | None = None) -> bool:
    """Whether this process runs in a pod."""
    return bool((os.environ if env is None else env).get("KUBERNETES_SERVICE_HOST"))


def read_replicas(context: str | None, namespace: str | None) -> dict[str, Replicas]:
    """The replicas of each operation.

    Args:
        context: of the kubeconfig; `None` in a pod takes the pod's own cluster.
        namespace: where muniflow runs; `None` takes the pod's or the context's own.

    Raises:
        Invalid: the library `kubernetes` is not installed, or there is no such context.
        Unavailable: the cluster does not answer, or refuses.
    """
    try:
        from kubernetes import client, config
        from urllib3.exceptions import HTTPError
    except ModuleNotFoundError:
        raise Invalid((Fault("", "needs the extra 'kubernetes': pip install 'muniflow[kubernetes]'"),)) from None
    own = _connect(config, context)
    try:
        listed = client.AppsV1Api().list_namespaced_deployment(
            namespace or own, label_selector=PART_OF, _request_timeout=TIMEOUT_S
        )
    except client.ApiException as error:
        raise Unavailable("the cluster", f"{error.status} {error.reason}") from None
    except (HTTPError, OSError) as error:
        raise Unavailable("the cluster", str(error)) from None
    return _by_operation(listed.items)


def _by_operation(deployments: Iterable[Any]) -> dict[str, Replicas]:
    """Add up, by operation: one Deployment may carry several, and one operation may have several Deployments."""
    found: dict[str, Replicas] = {}
    # The library's types say that everything may be missing; of a Deployment that the cluster lists nothing is.
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


def _connect(config: Any, context: str | None) -> str:
    """Read the settings of the cluster; returns the namespace that goes with them."""
    try:
        if context is None and in_cluster():
            config.load_incluster_config()
            return NAMESPACE_FILE.read_text().strip() if NAMESPACE_FILE.exists() else "default"
        config.load_kube_config(context=context)
        contexts, current = config.list_kube_config_contexts()
        chosen = next((each for each in contexts if each["name"] == context), current)
        return str(chosen["context"].get("namespace", "default"))
    except (config.ConfigException, OSError) as error:
        raise Invalid((Fault("--context", str(error)),)) from None
