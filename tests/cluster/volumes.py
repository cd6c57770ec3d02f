"""Volumes and variables of a pod: what a kubelet fetches from the API server, put into folders."""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.api import Api, Object
from tests.cluster.pod_process import Mount

API_SERVER = ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT")


def _core(pod: Mapping[str, Any], kind: str, name: str) -> str:
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/{kind}/{name}"


@dataclass(frozen=True)
class PodMaterial:
    """Reads for one pod."""

    api: Api
    folder: Path
    """The pod's own."""
    claims: Path
    """One folder for each claim, kept when pods go."""

    # Variables

    def variables(self, pod: Object, container: Object, server: tuple[str, str]) -> Iterator[tuple[str, str]]:
        """All of a container, in the order in which they may refer to each other."""
        yield from zip(API_SERVER, server, strict=True)
        for source in container.get("envFrom", ()):
            if "secretRef" in source:
                yield from self._secret(pod, source["secretRef"]["name"]).items()
        for entry in container.get("env", ()):
            yield entry["name"], self._value(pod, entry)

    def _value(self, pod: Object, entry: Object) -> str:
        source = entry.get("valueFrom")
        if source is None:
            return str(entry.get("value", ""))
        if "secretKeyRef" in source:
            return self._secret(pod, source["secretKeyRef"]["name"])[source["secretKeyRef"]["key"]]
        found: Any = pod
        path = source["fieldRef"]["fieldPath"]
        for kind in ("annotations", "labels"):
            if path.startswith(f"metadata.{kind}['"):
                return str(pod["metadata"].get(kind, {}).get(path.split("'")[1], ""))
        for part in path.split("."):
            found = found[part]
        return str(found)

    def _secret(self, pod: Object, name: str) -> dict[str, str]:
        data = self.api.get(_core(pod, "secrets", name)).get("data", {})
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    # Volumes

    def mounts(self, pod: Object, container: Object) -> list[Mount]:
        """Where a container finds its volumes; parents before what is mounted below them."""
        volumes = {volume["name"]: self._volume(pod, volume) for volume in pod["spec"].get("volumes", ())}
        found = []
        for mount in container.get("volumeMounts", ()):
            source = volumes[mount["name"]]
            if mount.get("subPath"):
                source = source / mount["subPath"]
            found.append(Mount(source, mount["mountPath"], mount.get("readOnly", False)))
        return sorted(found, key=lambda mount: mount.target)

    def _volume(self, pod: Object, volume: Object) -> Path:
        if "persistentVolumeClaim" in volume:
            claim: Path = self.claims / volume["persistentVolumeClaim"]["claimName"]
            claim.mkdir(parents=True, exist_ok=True)
            claim.chmod(0o777)  # what fsGroup does for real volumes
            return claim
        place: Path = self.folder / "volumes" / volume["name"]
        place.mkdir(parents=True, exist_ok=True)
        place.chmod(0o1777 if "emptyDir" in volume else 0o755)
        for source in volume.get("projected", {}).get("sources", [volume]):
            for name, content in self._files(pod, source).items():
                (place / name).write_text(content)
        return place

    def _files(self, pod: Object, source: Object) -> dict[str, str]:
        if "secret" in source:
            name = source["secret"].get("secretName") or source["secret"]["name"]
            return _chosen(self._secret(pod, name), source["secret"])
        if "configMap" in source:
            return _chosen(
                self.api.get(_core(pod, "configmaps", source["configMap"]["name"]))["data"], source["configMap"]
            )
        if "serviceAccountToken" in source:
            wanted = source["serviceAccountToken"]
            return {wanted["path"]: self._token(pod, wanted.get("expirationSeconds", 3600))}
        if "downwardAPI" in source:
            return {item["path"]: self._value(pod, {"valueFrom": item}) for item in source["downwardAPI"]["items"]}
        return {}

    def _token(self, pod: Object, seconds: int) -> str:
        path = f"{_core(pod, 'serviceaccounts', pod['spec']['serviceAccountName'])}/token"
        bound = {"kind": "Pod", "apiVersion": "v1", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
        body = {
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"expirationSeconds": seconds, "boundObjectRef": bound},
        }  # fmt: skip
        return str(self.api.post(path, body)["status"]["token"])


def _chosen(data: Mapping[str, str], source: Object) -> dict[str, str]:
    items = source.get("items")
    return dict(data) if items is None else {item["path"]: data[item["key"]] for item in items}
