"""The OpenAPI document: what FastAPI finds, with the schemas of what is read by hand."""

import json
from collections.abc import Mapping
from typing import Any, cast

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from muniflow import __version__
from muniflow.model.batch_document import BATCH_EXAMPLE
from muniflow.model.batch_schema import batch_schema
from muniflow.model.operation import Operations
from muniflow.model.report_schema import report_schema
from muniflow_gateway.problems import ProblemBody
from muniflow_gateway.routes.plans import PlanOptions
from muniflow_gateway.schemas import BatchEvent, BatchView
from muniflow_gateway.upload.documents import OWN

REF = "#/components/schemas/{model}"
SERVERS = [
    {"url": "/", "description": "The gateway that serves this document."},
    {"url": "http://localhost:8080", "description": "What `make daemon` starts."},
]
TAGS = [
    {"name": "submit", "description": "Send images, or name those that are in the source store."},
    {"name": "batches", "description": "Watch batches, stop them, run them again, get their results."},
    {"name": "plans", "description": "When a batch would end, before it is sent."},
    {"name": "pipeline", "description": "Stages, operations, the session of a browser, health."},
]
DESCRIPTION = """The HTTP API of muniflow: send images, watch them, get results.

Every error is an RFC 9457 problem (`application/problem+json`) that names every fault by its place.
Send an API key as `Authorization: Bearer …` or `X-Api-Key: …`; without keys, only this machine is served.
"""
ACTIONS_EXAMPLE = {"operations": [["resize", "50%"], ["split", True], ["blur", "gaussian"]], "output": "jpg"}

PLAN_EXAMPLE = {"operations": ACTIONS_EXAMPLE["operations"], "sizes": [{"width": 4000, "height": 3000, "count": 120}]}


def openapi_of(app: FastAPI, operations: Operations) -> dict[str, Any]:
    """The document of this app with these operations."""
    document = get_openapi(
        title="muniflow",
        version=__version__,
        description=DESCRIPTION,
        routes=app.routes,
        servers=SERVERS,
        tags=TAGS,
        license_info={"name": "Apache 2.0", "identifier": "Apache-2.0"},
    )
    schemas = cast("dict[str, Any]", document["components"]["schemas"])
    for model in (ProblemBody, BatchView, BatchEvent):
        schema = model.model_json_schema(ref_template=REF, mode="serialization")
        schemas.update(schema.pop("$defs", {}))
        schemas[model.__name__] = schema
    schemas.update(_report())
    batch = _batch(operations)
    schemas.update(batch.pop("$defs"))
    schemas["Batch"] = batch
    schemas["Actions"] = _actions(batch)
    schemas["PlanRequest"] = _plan_request(batch, schemas)
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    return document


def _batch(operations: Operations) -> dict[str, Any]:
    """A batch; the long form of each operation has a name of its own, once for all requests that hold a route."""
    schema = batch_schema(operations)
    schema.pop("$schema", None)
    forms = schema["properties"]["operations"]["items"]
    if operations:
        long = {form["title"]: form for form in forms["anyOf"] if form["type"] == "object"}
        schema["$defs"].update(long)
        forms["anyOf"] = [_short(operations), *({"$ref": f"#/$defs/{name}"} for name in long)]
    return {**_moved(schema), "title": "Batch", "description": "A batch.", "examples": [BATCH_EXAMPLE]}


def _short(operations: Operations) -> dict[str, Any]:
    """The short forms of all operations. Clients that are generated cannot read arrays whose parts have constants."""
    return {
        "type": "array",
        "description": "Short form: the name of an operation, and its main parameter.",
        "items": {},
        "minItems": 2,
        "maxItems": 2,
        "examples": [each for one in operations.values() for each in one.examples if isinstance(each, list)],
    }


def _report() -> dict[str, Any]:
    """`report.json`, and what it is made of, each with a name that says so."""
    schema = report_schema()
    parts = {name: name.replace("_", "Report", 1) for name in schema["$defs"]}
    text = json.dumps({**schema.pop("$defs"), "Report": schema})
    for name, clear in parts.items():
        text = text.replace(f'"#/$defs/{name}"', f'"{REF.format(model=clear)}"')
    found = {parts.get(name, name): part for name, part in json.loads(text).items()}
    for name, part in found.items():
        part["title"] = name
        part.pop("$schema", None)
        part.pop("$id", None)
    return found


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
