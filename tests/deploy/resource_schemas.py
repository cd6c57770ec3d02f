"""Strict validation: Kubernetes' kinds by the schemas of kubernetes-validate, custom resources by ours."""

import json
import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from tests.deploy.chart import Document, name_of

VERSIONS = ("1.29", "1.33", "1.37")
OURS = Path(__file__).parent / "schemas"
METADATA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", "maxLength": 253},
        "namespace": {"type": "string"},
        "labels": {"type": "object", "additionalProperties": {"type": "string", "maxLength": 63}},
        "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}


@cache
def _version_folder(version: str) -> str:
    folders = files("kubernetes_validate").joinpath("kubernetes-json-schema").iterdir()
    return next(item.name for item in folders if re.fullmatch(rf"v{version}\.\d+-local-strict", item.name))


@cache
def _core_definitions(version: str) -> Resource[Any]:
    folder = files("kubernetes_validate").joinpath("kubernetes-json-schema", _version_folder(version))
    return Resource.from_contents(json.loads(folder.joinpath("_definitions.json").read_text()))


@cache
def _core(version: str, api_version: str, kind: str) -> Draft202012Validator | None:
    group = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
    folder = files("kubernetes_validate").joinpath("kubernetes-json-schema", _version_folder(version))
    path = folder.joinpath(f"{kind.lower()}-{group}.json")
    if not path.is_file():
        return None
    resource: Resource[Any] = Resource.from_contents(json.loads(path.read_text()))
    registry: Registry[Any] = _core_definitions(version) @ (resource @ Registry())
    return Draft202012Validator(resource.contents, registry=registry)


@cache
def _custom(api_version: str, kind: str) -> Draft202012Validator | None:
    path = OURS / f"{kind.lower()}.{api_version.split('/', maxsplit=1)[0]}.yaml"
    if not path.exists():
        return None
    ours = yaml.safe_load(path.read_text())
    return Draft202012Validator(
        {
            "type": "object",
            "additionalProperties": False,
            "required": ["apiVersion", "kind", "metadata", "spec"],
            "properties": {
                "apiVersion": {"enum": ours["apiVersions"]},
                "kind": {"const": kind},
                "metadata": METADATA,
                "spec": ours["spec"],
            },
            "$defs": ours.get("$defs", {}),
        }
    )


def is_custom(document: Document) -> bool:
    """Whether this is a custom resource."""
    group, _, version = document["apiVersion"].rpartition("/")
    return (bool(version) and "." in group and not group.endswith(".k8s.io")) or group == "gateway.networking.k8s.io"


def problems(document: Document, version: str) -> tuple[str, ...]:
    """What is wrong with a document by its schema; a document without a schema is a problem, too."""
    return _problems(json.dumps(document), version)


@cache
def _problems(document_json: str, version: str) -> tuple[str, ...]:
    """Of documents as text: most are the same in all cases of the matrix."""
    document = json.loads(document_json)
    kind, api_version = document["kind"], document["apiVersion"]
    validator = _custom(api_version, kind) if is_custom(document) else _core(version, api_version, kind)
    if validator is None:
        return (f"{name_of(document)}: no schema for {api_version} in Kubernetes {version}",)
    return tuple(
        f"{name_of(document)}: {'.'.join(map(str, error.absolute_path))}: {error.message[:200]}"
        for error in validator.iter_errors(document)
    )
