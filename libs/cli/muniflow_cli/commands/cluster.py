"""Asks a cluster for its objects; imported only when there is one."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from muniflow.errors import Fault, Invalid, Unavailable

PART_OF = "app.kubernetes.io/part-of=muniflow"
NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
TIMEOUT_S = 10

Kind = Literal["deployments", "pods"]


def in_cluster(env: Mapping[str, str] | None = None) -> bool:
    """Whether this process runs in a pod."""
    return bool((os.environ if env is None else env).get("KUBERNETES_SERVICE_HOST"))


def list_ours(kind: Kind, context: str | None, namespace: str | None) -> list[Any]:
    """What muniflow has in a cluster, as objects of the library `kubernetes`.

    Args:
        kind: what to list.
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
    apps, core = client.AppsV1Api(), client.CoreV1Api()
    ask = apps.list_namespaced_deployment if kind == "deployments" else core.list_namespaced_pod
    try:
        return list(ask(namespace or own, label_selector=PART_OF, _request_timeout=TIMEOUT_S).items)
    except client.ApiException as error:
        raise Unavailable("the cluster", f"{error.status} {error.reason}") from None
    except (HTTPError, OSError) as error:
        raise Unavailable("the cluster", str(error)) from None


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
