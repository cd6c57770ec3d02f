"""A stand-in for the API server that answers what `helm template --dry-run=server` asks: discovery, and objects it has.

It shows what the chart's `lookup` finds in a cluster. It keeps nothing that is sent to it.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from threading import Thread
from typing import Any

from tests.support.http_server import LocalHandler

KINDS = {
    "v1": ("ConfigMap", "Pod", "Secret", "Service", "ServiceAccount"),
    "apps/v1": ("Deployment", "StatefulSet"),
    "autoscaling/v2": ("HorizontalPodAutoscaler",),
    "keda.sh/v1alpha1": ("ScaledObject", "TriggerAuthentication"),
    "networking.k8s.io/v1": ("NetworkPolicy",),
    "policy/v1": ("PodDisruptionBudget",),
}
NOT_FOUND = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}


@contextmanager
def serving(objects: Mapping[str, Any]) -> Iterator[str]:
    """Serve objects by their path under `/apis` or `/api`; the URL of the server."""
    answers = {**_discovery(), **objects}

    class Handler(LocalHandler):
        def do_GET(self) -> None:
            found = answers.get(self.path.partition("?")[0])
            self.answer(404 if found is None else 200, json.dumps(NOT_FOUND if found is None else found).encode())

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join(timeout=10)


def _discovery() -> dict[str, Any]:
    groups = [version for version in KINDS if "/" in version]
    listed = [{"groupVersion": version, "version": version.split("/")[1]} for version in groups]
    return {
        "/version": {"major": "1", "minor": "37", "gitVersion": "v1.37.2"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": {
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": [
                {"name": entry["groupVersion"].split("/")[0], "versions": [entry], "preferredVersion": entry}
                for entry in listed
            ],
        },
        **{_path(version): _resources(version) for version in KINDS},
    }


def _path(version: str) -> str:
    return f"/apis/{version}" if "/" in version else f"/api/{version}"


def _resources(version: str) -> dict[str, Any]:
    return {
        "kind": "APIResourceList",
        "groupVersion": version,
        "resources": [
            {"name": _plural(kind), "kind": kind, "namespaced": True, "verbs": ["get", "list"]}
            for kind in KINDS[version]
        ],
    }


def _plural(kind: str) -> str:
    return kind.lower().removesuffix("y") + ("ies" if kind.endswith("y") else "s")
