"""Makes the batch document that is published from a form or a JSON body. Pure."""

import hashlib
import json
import re
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from muniflow.errors import Fault, Invalid
from muniflow.model.batch import Batch, derived_id, read_batch
from muniflow.model.batch_document import BatchDocument
from muniflow.model.deadline import past_faults, stated_at
from muniflow.model.json_text import read_json
from muniflow.model.keys import HIDDEN, as_prefix, is_hidden
from muniflow.model.operation import Operations
from muniflow.model.owners import Grants, id_fault, source_faults
from muniflow_gateway.upload.multipart import Form

OWN = {
    "source": "the images come with the form",
    "images": "the images come with the form",
    "manifest": "the images come with the form",
    "destination": "each upload has a folder of its own",
    "batch_id": "the gateway chooses it; send an `Idempotency-Key` header to be able to repeat a request",
}
"""What a form cannot say, and why."""
REPEATABLE = "key-"
"""Prefix of the batch ids of requests with an idempotency key."""
IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")


@dataclass(frozen=True)
class Rights:
    """What a sender may ask for."""

    owner: str
    grants: Grants
    urgent: bool = True

    def faults(self, asks: Batch | BatchDocument) -> list[Fault]:
        """What a batch asks for beyond them, whatever it reads."""
        if self.urgent:
            return []
        asked = {"priority": asks.priority == "high", "deadline": _deadline_at(asks) is not None}
        return [Fault(name, "this API key has not the scope `urgent`") for name, given in asked.items() if given]

    def source_faults(self, asks: Batch | BatchDocument) -> Iterable[Fault]:
        """What it reads beyond them."""
        source = as_prefix(asks.source)
        if is_hidden(source):
            return [Fault("source", HIDDEN)]
        images = None if asks.images is None else tuple(asks.images)
        return source_faults(self.owner, source, images, self.grants, asks.manifest)


def new_batch_id(now_s: float | None = None) -> str:
    """An id for an upload: the time, for people and for sorting, and chance."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now_s))
    return f"{stamp}-{secrets.token_hex(4)}"


def repeatable_batch_id(caller: str, idempotency_key: str) -> str:
    """The id that this caller's key always gives, also in another process.

    Raises:
        Invalid: it is no key.
    """
    if not IDEMPOTENCY_KEY.fullmatch(idempotency_key):
        raise Invalid((Fault("Idempotency-Key", "1 to 255 printable ASCII characters"),))
    digest = hashlib.sha256(f"{caller}\0{idempotency_key}".encode()).hexdigest()
    return f"{REPEATABLE}{digest[:32]}"


def request_digest(form: Form) -> str:
    """What tells two forms apart: the fields and the files, in order."""
    content = [sorted(form.fields.items()), [(file.name, file.sha256) for file in form.files]]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def document_of(
    form: Form, batch_id: str, folder: str, operations: Operations, now_s: float, *, rights: Rights
) -> tuple[bytes, list[Fault]]:
    """The batch document of a form that comes for the first time, now, and whose files are below `folder`.

    Returns:
        The document, which is that of a valid batch, and the faults that the form has beside it.

    Raises:
        Invalid: the batch is not valid; with every fault of fields and files, each by its place.
    """
    faults = list(form.faults)
    options = _options(form, faults)
    if not form.files and not any(fault.place.startswith("files") for fault in faults):
        faults.append(Fault("files", "send at least one image"))
    if options is None:
        raise Invalid(tuple(faults))
    for name in sorted(OWN.keys() & options.keys()):
        faults.append(Fault(name, f"not allowed here: {OWN[name]}"))
        del options[name]
    document = {
        **options,
        "batch_id": batch_id,
        "source": folder,
        "images": [file.name for file in form.files] or ["a"],
    }
    body = encoded(document)
    try:
        faults += _faults_in(body, operations, now_s, rights)
    except Invalid as invalid:
        raise Invalid(tuple(dict.fromkeys((*faults, *invalid.faults)))) from None
    return body, faults


def encoded(document: Mapping[str, Any]) -> bytes:
    """A document as JSON; half characters, which no JSON text can have, become question marks."""
    return json.dumps(document, ensure_ascii=False).encode(errors="replace")


def with_batch_id(body: bytes, batch_id: str) -> bytes:
    """A JSON document with this id, where it has none and is an object."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return body
    if not isinstance(document, dict) or document.get("batch_id") is not None:
        return body
    return json.dumps({**document, "batch_id": batch_id}).encode()


def _faults_in(body: bytes, operations: Operations, now_s: float, rights: Rights) -> list[Fault]:
    """What is wrong in the document of a valid batch that nobody knows yet."""

    def beside(asks: Batch | BatchDocument) -> list[Fault]:
        return [*rights.faults(asks), *past_faults(_deadline_at(asks), now_s)]

    return beside(read_batch(body, operations, rights.owner, beside))


def _deadline_at(asks: Batch | BatchDocument) -> float | None:
    return asks.deadline_at if isinstance(asks, Batch) else stated_at(asks.deadline)


def check_document(
    body: bytes, operations: Operations, rights: Rights, now_s: float, own_id: str | None = None
) -> Batch:
    """Check a JSON document. It cannot name images that were sent with a form, nor take an id that others may get.

    A deadline that has passed is a fault only beside others: the batch may be one that is known already.

    Args:
        body: the document.
        operations: that are installed.
        rights: of its sender.
        now_s: unix time.
        own_id: the id that its `Idempotency-Key` gives it.

    Raises:
        Invalid: with every fault.
    """
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise Invalid((Fault("", f"not UTF-8: {error.reason} at byte {error.start}"),)) from None

    def beyond(asks: Batch | BatchDocument) -> list[Fault]:
        return [*rights.faults(asks), *rights.source_faults(asks)]

    def also(document: BatchDocument) -> list[Fault]:
        return [*beyond(document), *past_faults(_deadline_at(document), now_s)]

    batch = read_batch(body, operations, rights.owner, also)
    faults = beyond(batch)
    if fault := id_fault(batch.batch_id, own_id or derived_id(batch.fingerprint, rights.owner)):
        faults.append(fault)
    if faults:
        raise Invalid(tuple(faults))
    return batch


def _options(form: Form, faults: list[Fault]) -> dict[str, Any] | None:
    """The fields of the batch that the form gives as JSON, in `actions` or `batch`."""
    given = [name for name in ("actions", "batch") if name in form.fields]
    if len(given) > 1:
        faults.append(Fault("batch", "give `actions` or `batch`, not both"))
    if not given:
        faults.append(
            Fault("actions", 'missing; send JSON such as {"operations": [["resize", "50%"]], "output": "jpg"}')
        )
        return None
    try:
        options = read_json(form.fields[given[0]])
    except (ValueError, RecursionError) as error:
        faults.append(Fault(given[0], f"not JSON: {error}"))
        return None
    if not isinstance(options, dict):
        faults.append(Fault(given[0], "a JSON object is wanted"))
        return None
    return options


def record_key(uploads_prefix: str, batch_id: str) -> str:
    """Key of the record of what was sent under an idempotency key."""
    return f"{uploads_prefix}/{batch_id}.claim.json"


@dataclass(frozen=True)
class IdempotencyRecord:
    """What an idempotency key stands for, from the first complete request on."""

    digest: str
    """Tells the request from others: `request_digest`."""
    document: bytes
    """The batch that is published for it, each time."""

    @property
    def source(self) -> str:
        """Prefix of its images in the source store."""
        return str(json.loads(self.document)["source"])

    def to_bytes(self) -> bytes:
        """The record as it is stored."""
        return json.dumps({"digest": self.digest, "document": self.document.decode()}).encode()

    @classmethod
    def from_bytes(cls, body: bytes) -> Self:
        """Read a record.

        Raises:
            ValueError: it is none.
        """
        record: Mapping[str, str] = json.loads(body)
        try:
            return cls(str(record["digest"]), str(record["document"]).encode())
        except (KeyError, TypeError):
            raise ValueError("not an idempotency record") from None
