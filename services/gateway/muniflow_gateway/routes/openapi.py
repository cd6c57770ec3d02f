"""The OpenAPI document: what FastAPI finds, with the schemas of what is read by hand."""

from collections.abc import Mapping
from typing import Any, cast

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from muniflow import __version__
from muniflow.model.batch_document import BATCH_EXAMPLE
from muniflow.model.batch_schema import batch_schema
from muniflow.model.operation import Operations
from muniflow_gateway.problems import ProblemBody
from muniflow_gateway.routes.plans import PlanOptions
from muniflow_gateway.schemas import BatchEvent, BatchView
from muniflow_gateway.upload.documents import OWN

REF = "#/components/schemas/{model}"
DESCRIPTION = """The HTTP API of muniflow: send images, watch them, get results.

Every error is an RFC 9457 problem (`application/problem+json`) that names every fault by its place.
Send an API key as `Authorization: Bearer …` or `X-Api-Key: …`; without keys, only this machine is served.
"""
ACTIONS_EXAMPLE = {"operations": [["resize", "50%"], ["split", True], ["blur", "gaussian"]], "output": "jpg"}

PLAN_EXAMPLE = {"operations": ACTIONS_EXAMPLE["operations"], "sizes": [{"width": 4000, "height": 3000, "count": 120}]}


def openapi_of(app: FastAPI, operations: Operations) -> dict[str, Any]:
    """The document of this app with these operations."""
    document = get_openapi(title="muniflow", version=__version__, description=DESCRIPTION, routes=app.routes)
    schemas = cast("dict[str, Any]", document["components"]["schemas"])
    for model in (ProblemBody, BatchView, BatchEvent):
        schema = model.model_json_schema(ref_template=REF, mode="serialization")
        schemas.update(schema.pop("$defs", {}))
        schemas[model.__name__] = schema
    batch = _batch(operations)
    schemas.update(batch.pop("$defs", {}))
    schemas["Batch"] = batch
    schemas["Actions"] = _actions(batch)
    schemas["PlanRequest"] = _plan_request(batch, schemas)
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


def _plan_request(batch: Mapping[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """A batch, and beside it what a plan can be asked."""
    options = PlanOptions.model_json_schema(ref_template=REF)
    schemas.update(options.pop("$defs", {}))
    return {
        **batch,
        "title": "PlanRequest",
        "description": "A batch that may be sent, and what its plan is asked.",
        "properties": {**batch["properties"], **options["properties"]},
        "examples": [PLAN_EXAMPLE],
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
