"""A batch as users write it, checked whole: every fault is named by its place before any work starts."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from muniflow.errors import Fault, Invalid
from muniflow.model.keys import is_upload, key_problem
from muniflow.model.messages import IMAGE_FORMATS, LOSSLESS, Decode, Encoding, ImageFormat, Route, RouteStep, leaf_count
from muniflow.model.operation import Operation, Operations

MAX_DOCUMENT_BYTES = 8 * 2**20
"""Larger lists of images go into a manifest."""
MAX_STEPS = 32
MAX_LEAVES = 4096
"""Outputs of one image."""
BATCH_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
FORMATS: Mapping[str, ImageFormat] = {**{name: name for name in IMAGE_FORMATS}, "jpeg": "jpg"}


class OutputDocument(BaseModel):
    """The long form of `output`."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    format: str
    quality: Annotated[int, Field(ge=1, le=100)] | None = None


class BatchDocument(BaseModel):
    """The JSON that a user sends, before its operations are read."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    batch_id: str | None = Field(
        None, description="Sent twice, the same id is the same batch. Made from the content where it is left out."
    )
    municipality: str = Field("", max_length=200)
    source: str | None = Field(None, description="Prefix in the source store; `images` and `manifest` are below it.")
    images: list[str] | None = Field(None, min_length=1, description="Keys of images.")
    manifest: str | None = Field(None, description="Key of a text file with one image key a line.")
    operations: list[Any] = Field(min_length=1, max_length=MAX_STEPS)
    output: str | OutputDocument = "jpg"
    destination: str | None = Field(None, description="Prefix in the output store; the batch id where it is left out.")
    decode: Decode = "exact"
    weight: Annotated[int, Field(ge=1, le=100)] = 1


@dataclass(frozen=True)
class Batch:
    """A checked batch."""

    batch_id: str
    municipality: str
    source: str
    """Prefix of every source key; empty or ending in `/`."""
    images: tuple[str, ...] | None
    """Keys below `source`, or `None`: from `manifest`, or else everything below `source`."""
    manifest: str | None
    route: Route
    encoding: Encoding
    destination: str
    """Prefix of every output key, without a `/` at its end."""
    decode: Decode
    weight: int
    fingerprint: str
    """SHA-256 of the content without its id: the same id with another fingerprint is refused."""


def read_batch(body: bytes | str, operations: Operations) -> Batch:
    """Check a batch document against the operations that are installed.

    Raises:
        Invalid: with every fault, each named by its place.
    """
    document = _read_json(body)
    faults: list[Fault] = []
    parsed = _read_document(document, faults)
    raw_operations = document.get("operations")
    route = _read_route(raw_operations, operations, faults) if isinstance(raw_operations, list) else ()
    if parsed is not None:
        faults += _document_faults(parsed)
    if faults or parsed is None:
        raise Invalid(tuple(faults))
    encoding = _read_encoding(parsed.output)
    fingerprint = _fingerprint(parsed, route, encoding)
    batch_id = parsed.batch_id or f"batch-{fingerprint[:16]}"
    return Batch(
        batch_id=batch_id,
        municipality=parsed.municipality,
        source=_as_prefix(parsed.source),
        images=None if parsed.images is None else tuple(parsed.images),
        manifest=parsed.manifest,
        route=route,
        encoding=encoding,
        destination=(parsed.destination or batch_id).strip("/"),
        decode=parsed.decode,
        weight=parsed.weight,
        fingerprint=fingerprint,
    )


def _read_json(body: bytes | str) -> dict[str, Any]:
    if len(body) > MAX_DOCUMENT_BYTES:
        raise Invalid(
            (
                Fault(
                    "",
                    f"the document has {len(body)} bytes; the limit is {MAX_DOCUMENT_BYTES}. "
                    "Put the keys of the images into a file and name it as `manifest`",
                ),
            )
        )
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Invalid((Fault("", f"not JSON: {error}"),)) from None
    if not isinstance(document, dict):
        raise Invalid((Fault("", "a batch is a JSON object"),))
    return document


def _read_document(document: dict[str, Any], faults: list[Fault]) -> BatchDocument | None:
    try:
        return BatchDocument.model_validate(document)
    except ValidationError as error:
        faults += faults_of(error)
        return None


def faults_of(error: ValidationError, place: str = "") -> list[Fault]:
    """The faults that pydantic found, by their places below `place`."""
    found = []
    for item in error.errors(include_url=False):
        where = place
        for part in item["loc"]:
            if isinstance(part, int):
                where += f"[{part}]"
            elif part not in {"str", "OutputDocument"}:  # the arms of a union are not places
                where += f".{part}" if where else str(part)
        problem = "unknown field" if item["type"] == "extra_forbidden" else item["msg"].removeprefix("Value error, ")
        found.append(Fault(where, problem))
    return found


def _read_route(entries: list[Any], operations: Operations, faults: list[Fault]) -> Route:
    route = []
    for number, entry in enumerate(entries[:MAX_STEPS]):
        try:
            route.append(read_step(entry, operations, f"operations[{number}]"))
        except Invalid as invalid:
            faults += invalid.faults
    if (leaves := leaf_count(tuple(route))) > MAX_LEAVES:
        faults.append(Fault("operations", f"one image would have {leaves} outputs; the limit is {MAX_LEAVES}"))
    return tuple(route)


def read_step(entry: object, operations: Operations, place: str) -> RouteStep:
    """Read one entry of `operations`, in its short or long form.

    Raises:
        Invalid: naming `place`.
    """
    match entry:
        case [str(name), value]:
            operation = _find(name, operations, place)
            try:
                params = operation.params.from_short(value)
            except ValidationError as error:
                raise Invalid(tuple(faults_of(error, place))) from None
            except ValueError as error:
                raise Invalid((Fault(place, str(error)),)) from None
        case {"op": str(name), **fields}:
            operation = _find(name, operations, place)
            try:
                params = operation.params.model_validate(fields)
            except ValidationError as error:
                raise Invalid(tuple(faults_of(error, place))) from None
        case _:
            raise Invalid((Fault(place, 'write ["<operation>", <value>] or {"op": "<operation>", …}'),))
    return RouteStep(
        op=operation.name, params=params.model_dump(mode="json", exclude_none=True), fan_out=params.fan_out
    )


def _find(name: str, operations: Operations, place: str) -> Operation:
    if name not in operations:
        allowed = ", ".join(operations) or "none: no step package is installed"
        raise Invalid((Fault(place, f"unknown operation {name!r}; installed: {allowed}"),))
    return operations[name]


def _document_faults(document: BatchDocument) -> list[Fault]:
    faults = []
    if document.batch_id is not None and not BATCH_ID.fullmatch(document.batch_id):
        faults.append(Fault("batch_id", "1 to 80 letters, digits, '.', '_' or '-', starting with a letter or digit"))
    if document.images is not None and document.manifest is not None:
        faults.append(Fault("manifest", "give `images` or `manifest`, not both"))
    if document.source is None and document.images is None and document.manifest is None:
        faults.append(Fault("source", "say which images: `source`, `images` or `manifest`"))
    source = None if _is_own_upload(document) else document.source
    for place, value in {"source": source, "destination": document.destination}.items():
        if value and (problem := key_problem(value.rstrip("/"))):
            faults.append(Fault(place, problem))
    if document.manifest is not None and (problem := key_problem(document.manifest)):
        faults.append(Fault("manifest", problem))
    for number, key in enumerate(document.images or ()):
        if problem := key_problem(key):
            faults.append(Fault(f"images[{number}]", problem))
    return faults + _output_faults(document.output)


def _is_own_upload(document: BatchDocument) -> bool:
    """Whether its images were sent with it: the one hidden folder that a batch can name."""
    return document.batch_id is not None and is_upload(_as_prefix(document.source), document.batch_id)


def _output_faults(output: str | OutputDocument) -> list[Fault]:
    name, quality = (output, None) if isinstance(output, str) else (output.format, output.quality)
    place = "output" if isinstance(output, str) else "output.format"
    if name not in FORMATS:
        return [Fault(place, unknown_format(name))]
    if quality is not None and FORMATS[name] in LOSSLESS:
        return [Fault("output.quality", f"{name} is lossless and takes no quality")]
    return []


def unknown_format(name: str) -> str:
    """What is wrong with a name that is not in `FORMATS`."""
    return f"unknown format {name!r}; allowed: {', '.join(IMAGE_FORMATS)}"


def _read_encoding(output: str | OutputDocument) -> Encoding:
    if isinstance(output, str):
        return Encoding(format=FORMATS[output])
    return Encoding(format=FORMATS[output.format], quality=output.quality)


def _as_prefix(source: str | None) -> str:
    stripped = (source or "").strip("/")
    return f"{stripped}/" if stripped else ""


def _fingerprint(document: BatchDocument, route: Route, encoding: Encoding) -> str:
    content = document.model_dump(mode="json", exclude={"batch_id", "operations", "output"})
    content["route"] = [step.model_dump(mode="json") for step in route]
    content["encoding"] = encoding.model_dump(mode="json")
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def batch_schema(operations: Operations) -> dict[str, Any]:
    """The JSON Schema of a batch, with the long form of every installed operation."""
    schema = BatchDocument.model_json_schema()
    items: list[dict[str, Any]] = []
    for operation in operations.values():
        long = operation.params.model_json_schema()
        long["properties"] = {"op": {"const": operation.name}, **long.get("properties", {})}
        long["required"] = ["op", *long.get("required", [])]
        long["description"] = operation.summary
        short = {
            "type": "array",
            "description": f"Short form: {operation.summary}",
            "prefixItems": [{"const": operation.name}, {}],
            "minItems": 2,
            "maxItems": 2,
            "examples": [example for example in operation.examples if isinstance(example, list)],
        }
        items += [short, long]
    properties = cast("dict[str, Any]", schema["properties"])
    properties["operations"] = {**properties["operations"], "items": {"anyOf": items} if items else {}}
    properties["output"]["examples"] = [*IMAGE_FORMATS, {"format": "jpg", "quality": 90}]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "A muniflow batch"}
