"""A batch as users write it, checked whole: every fault is named by its place before any work starts."""

import hashlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from muniflow.errors import Fault, Invalid
from muniflow.model.batch_document import MAX_STEPS, Again, BatchDocument, Priority
from muniflow.model.batch_faults import document_faults
from muniflow.model.changes import Changes
from muniflow.model.deadline import read_time
from muniflow.model.fingerprint import fingerprint_of
from muniflow.model.json_text import read_json
from muniflow.model.keys import as_prefix
from muniflow.model.messages import WITH_ALPHA, Decode, Encoding, Route, RouteStep, leaf_count
from muniflow.model.operation import Operation, Operations
from muniflow.model.output_form import OUTPUT_FORMS, read_encoding
from muniflow.model.owners import DEFAULT_OWNER
from muniflow.model.rendering import WHITE, Rendering
from muniflow.model.skipped import Skipped

MAX_DOCUMENT_BYTES = 8 * 2**20
"""Larger lists of images go into a manifest."""
MAX_LEAVES = 4096
"""Outputs of one image."""


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
    """SHA-256 of what it makes (`muniflow.model.fingerprint`): the same id with another one is refused."""
    deadline_at: float | None = None
    """Unix seconds. It may have passed: see `muniflow.model.deadline.past_faults`."""
    priority: Priority = "normal"
    rendering: Rendering | None = None
    """What it chose of colours; `None`: everything by default."""
    strict: bool = False
    """Whether files below `source` that are not taken are a fault."""
    replace: bool = False
    """Whether outputs of an earlier run in its destination are removed first."""
    checksums: bool = False
    """Whether its report has the digests of sources and outputs."""
    replaced: int = 0
    """How many these were; known once its list is read."""
    again: Again | None = None
    """Whether it is run anew where it has ended before, and what of it."""
    changes: Changes = field(default_factory=Changes)
    """What it kept of its last run; known once its list is read."""
    revision: int = 1
    """Which run of it this is, from 1."""
    submission: str | None = None
    """The AMQP `message_id` with which this run was asked for: the same message again asks for no other one."""
    skipped: Skipped = field(default_factory=Skipped)
    """Files below `source` that are not taken; known once its list is read."""
    owner: str = DEFAULT_OWNER
    """Who sent it; no part of its document."""
    name: str = ""
    """What people call it."""
    keep_days: float | None = None
    """So long after its end it is erased; `None`: as its owner has it."""
    callback: str | None = None
    """URL that is told its end; `None`: that of its owner, if there is one."""

    @property
    def lists_all(self) -> bool:
        """Whether it is everything below its source, and not what it names."""
        return self.images is None and self.manifest is None


def read_batch(
    body: bytes | str,
    operations: Operations,
    owner: str = DEFAULT_OWNER,
    also: Callable[[BatchDocument], Iterable[Fault]] = lambda _document: (),
) -> Batch:
    """Check the batch document of an owner against the operations that are installed.

    Args:
        body: the document.
        operations: that are installed.
        owner: who sent it.
        also: names what else is wrong with an invalid document. Fields that could not be read have their
            default there; what it says about these is left out.

    Raises:
        Invalid: with every fault, each named by its place.
    """
    document = _read_json(body)
    faults: list[Fault] = []
    parsed, unread = _read_document(document, faults)
    raw_operations = document.get("operations")
    route = _read_route(raw_operations, operations, faults) if isinstance(raw_operations, list) else ()
    if parsed is not None:
        faults += document_faults(parsed, unread)
        named = {fault.place for fault in faults}  # what is said of a field's default is not true
        faults += [fault for fault in also(parsed) if fault.place not in named] if faults else []
    if faults or parsed is None:
        raise Invalid(tuple(faults))
    return _made(parsed, route, owner)


def _made(parsed: BatchDocument, route: Route, owner: str) -> Batch:
    encoding = read_encoding(parsed.output)
    rendering = _read_rendering(parsed, encoding)
    fingerprint = fingerprint_of(parsed, route, encoding, rendering)
    batch_id = parsed.batch_id or derived_id(fingerprint, owner)
    return Batch(
        batch_id=batch_id,
        municipality=parsed.municipality,
        source=as_prefix(parsed.source),
        images=None if parsed.images is None else tuple(parsed.images),
        manifest=parsed.manifest,
        route=route,
        encoding=encoding,
        destination=(parsed.destination or batch_id).strip("/"),
        decode=parsed.decode,
        weight=parsed.weight,
        fingerprint=fingerprint,
        deadline_at=None if parsed.deadline is None else read_time(parsed.deadline),
        priority=parsed.priority,
        rendering=rendering,
        strict=parsed.strict,
        replace=parsed.replace,
        again=parsed.again,
        owner=owner,
        checksums=parsed.checksums,
        name=parsed.name,
        keep_days=parsed.keep_days,
        callback=parsed.callback,
    )


def derived_id(fingerprint: str, owner: str) -> str:
    """The id of a batch whose document names none: two owners with the same content have two batches."""
    if owner != DEFAULT_OWNER:
        fingerprint = hashlib.sha256(f"{owner}\0{fingerprint}".encode()).hexdigest()
    return f"batch-{fingerprint[:16]}"


def _read_json(body: bytes | str) -> dict[str, Any]:
    if len(body) > MAX_DOCUMENT_BYTES:
        text = f"the document has {len(body)} bytes; the limit is {MAX_DOCUMENT_BYTES}. "
        raise Invalid((Fault("", f"{text}Put the keys of the images into a file and name it as `manifest`"),))
    try:
        document = read_json(body)
    except (ValueError, RecursionError) as error:
        raise Invalid((Fault("", f"not JSON: {error}"),)) from None
    if not isinstance(document, dict):
        raise Invalid((Fault("", "a batch is a JSON object"),))
    return document


def _read_document(document: dict[str, Any], faults: list[Fault]) -> tuple[BatchDocument | None, frozenset[str]]:
    """Read the fields, those without a fault in any case, so that what is wrong between them is named, too.

    Returns:
        The document, and the names of the fields that could not be read: these have their default.
    """
    try:
        return BatchDocument.model_validate(document), frozenset()
    except ValidationError as error:
        faults += faults_of(error)
        unread = frozenset(str(item["loc"][0]) for item in error.errors() if item["loc"])
    rest = {name: value for name, value in document.items() if name not in unread}
    with suppress(ValidationError):
        return BatchDocument.model_validate({"operations": [None]} | rest), unread
    return None, unread


def faults_of(error: ValidationError, place: str = "") -> list[Fault]:
    """The faults that pydantic found, by their places below `place`."""
    found = []
    for item in error.errors(include_url=False):
        where = place
        for part in item["loc"]:
            if isinstance(part, int):
                where += f"[{part}]"
            elif part not in OUTPUT_FORMS:  # the arms of a union are not places
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
    try:
        match entry:
            case [str(name), value]:
                operation = _find(name, operations, place)
                params = operation.params.from_short(value)
            case {"op": str(name), **fields}:
                operation = _find(name, operations, place)
                params = operation.params.model_validate(fields)
            case _:
                raise Invalid((Fault(place, 'write ["<operation>", <value>] or {"op": "<operation>", …}'),))
    except ValidationError as error:
        raise Invalid(tuple(faults_of(error, place))) from None
    except ValueError as error:
        raise Invalid((Fault(place, str(error)),)) from None
    return RouteStep(
        op=operation.name, params=params.model_dump(mode="json", exclude_none=True), fan_out=params.fan_out
    )


def _find(name: str, operations: Operations, place: str) -> Operation:
    if name not in operations:
        allowed = ", ".join(operations) or "none: no step package is installed"
        raise Invalid((Fault(place, f"unknown operation {name!r}; installed: {allowed}"),))
    return operations[name]


def _read_rendering(document: BatchDocument, encoding: Encoding) -> Rendering | None:
    """What was chosen; a default that is written out is the same as one that is left out."""
    rendering = Rendering(
        color=document.color,
        alpha="flatten" if document.alpha == "flatten" and encoding.format in WITH_ALPHA else None,
        background=(document.background or WHITE).lower(),
        bands=None if document.bands is None else (document.bands[0], document.bands[1], document.bands[2]),
        metadata=document.metadata,
    )
    return rendering if rendering.chosen() else None


def is_express(images: int, express_images: int) -> bool:
    """Whether a batch of so many images takes the express lane (docs/adr/0031-express-lane.md)."""
    return images <= express_images
