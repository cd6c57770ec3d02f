"""The OpenAPI document: what FastAPI finds, with the schemas of what is read by hand."""

from collections.abc import Mapping
from typing import Any, cast

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from muniflow import __version__
from muniflow.model.batch import batch_schema
from muniflow.model.operation import Operations
from muniflow_gateway.problems import ProblemBody
from muniflow_gateway.schemas import BatchView
from muniflow_gateway.upload.documents import OWN

REF = "#/components/schemas/{model}"
DESCRIPTION = """The HTTP door of muniflow: send images, watch them, get results.

Every error is an RFC 9457 problem (`application/problem+json`) that names every fault by its place.
Send an API key as `Authorization: Bearer …` or `X-Api-Key: …`; without keys, only this machine is served.
"""
ACTIONS_EXAMPLE = {"operations": [["resize", "50%"], ["split", True], ["blur", "gaussian"]], "output": "jpg"}
BATCH_EXAMPLE = {
    "batch_id": "utrecht-2026-11",
    "municipality": "Utrecht",
    "source": "images/",
    "operations": [["resize", "200x300"], ["split", True], ["blur", "gaussian"]],
    "output": "jpg",
}


def openapi_of(app: FastAPI, operations: Operations) -> dict[str, Any]:
    """The document of this app with these operations."""
    document = get_openapi(title="muniflow", version=__version__, description=DESCRIPTION, routes=app.routes)
    schemas = cast("dict[str, Any]", document["components"]["schemas"])
    for model in (ProblemBody, BatchView):
        schema = model.model_json_schema(ref_template=REF, mode="serialization")
        schemas.update(schema.pop("$defs", {}))
        schemas[model.__name__] = schema
    batch = _batch(operations)
    schemas.update(batch.pop("$defs", {}))
    schemas["Batch"] = batch
    schemas["Actions"] = _actions(batch)
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    return document


def _batch(operations: Operations) -> dict[str, Any]:
    schema = batch_schema(operations)
    schema.pop("$schema", None)
    return {**_moved(schema), "examples": [BATCH_EXAMPLE]}


def _actions(batch: Mapping[str, Any]) -> dict[str, Any]:
    """What a form says of its batch: all but which images, and where to."""
    properties = {name: value for name, value in batch["properties"].items() if name not in OWN}
    return {
        **batch,
        "title": "Actions",
        "description": "The route of the images that come with the form.",
        "properties": properties,
        "examples": [ACTIONS_EXAMPLE],
    }


def _moved(schema: Any) -> Any:
    """References into the document's own place for schemas."""
    match schema:
        case {"$ref": str(reference)}:
            return {**schema, "$ref": reference.replace("#/$defs/", "#/components/schemas/")}
        case dict():
            return {name: _moved(value) for name, value in schema.items()}
        case list():
            return [_moved(value) for value in schema]
        case _:
            return schema
