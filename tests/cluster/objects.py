"""Objects of any kind, sent to the API server by server-side apply."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.cluster.api import Api, Object

MANAGER = "bench"


@dataclass
class Objects:
    """Knows the path of every kind that the API server has."""

    api: Api
    paths: dict[tuple[str, str], str] = field(default_factory=dict)
    """By API version and kind."""

    def discover(self) -> "Objects":
        """Ask what there is; again after new definitions."""
        versions = [("v1", "/api/v1")]
        for group in self.api.get("/apis")["groups"]:
            versions += [(entry["groupVersion"], f"/apis/{entry['groupVersion']}") for entry in group["versions"]]
        for version, prefix in versions:
            for entry in self.api.get(prefix)["resources"]:
                if "/" not in entry["name"]:
                    space = "/namespaces/{namespace}" if entry["namespaced"] else ""
                    self.paths[version, entry["kind"]] = f"{prefix}{space}/{entry['name']}/{{name}}"
        return self

    def knows(self, document: Mapping[str, Any]) -> bool:
        return (document["apiVersion"], document["kind"]) in self.paths

    def apply(self, document: Mapping[str, Any], **query: str) -> Object:
        """Server-side apply; `query` may ask for a dry run.

        Raises:
            Refused: by the API server.
        """
        metadata = document["metadata"]
        path = self.paths[document["apiVersion"], document["kind"]]
        where = path.format(namespace=metadata.get("namespace"), name=metadata["name"])
        return self.api.patch(where, document, "apply", **{"fieldManager": MANAGER, "force": "true", **query})

    def namespaces(self, documents: Sequence[Mapping[str, Any]]) -> None:
        """Make the namespaces of these documents; what does not fit `restricted` is refused or warned of."""
        labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
        for name in {document["metadata"].get("namespace") for document in documents} - {None}:
            self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
