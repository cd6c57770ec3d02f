"""From what a form or a JSON body says to the batch document that is published. Pure."""

import hashlib
import json
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from muniflow.errors import Fault, Invalid
from muniflow.model.batch import Batch, read_batch
from muniflow.model.keys import ATTEMPT, HIDDEN, is_hidden
from muniflow.model.operation import Operations
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
"""How the ids of batches begin whose requests may be repeated."""
IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")


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


def document_of(form: Form, batch_id: str, folder: str, operations: Operations) -> bytes:
    """The batch document of a form whose files are below `folder`.

    Raises:
        Invalid: with every fault of fields and files, each by its place.
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
    body = json.dumps(document, ensure_ascii=False).encode(errors="replace")
    faults += faults_in(body, operations)
    if faults:
        raise Invalid(tuple(dict.fromkeys(faults)))
    return body


def with_batch_id(body: bytes, batch_id: str) -> bytes:
    """A JSON document with this id, where it has none and is an object."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return body
    if not isinstance(document, dict) or document.get("batch_id") is not None:
        return body
    return json.dumps({**document, "batch_id": batch_id}).encode()


def faults_in(body: bytes, operations: Operations) -> tuple[Fault, ...]:
    """What is wrong in a batch document."""
    try:
        read_batch(body, operations)
    except Invalid as invalid:
        return invalid.faults
    return ()


def check_document(body: bytes, operations: Operations) -> Batch:
    """Check a JSON document. It names images of the store; those that were sent with a form are that form's.

    Raises:
        Invalid: with every fault.
    """
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise Invalid((Fault("", f"not UTF-8: {error.reason} at byte {error.start}"),)) from None
    batch = read_batch(body, operations)
    if is_hidden(batch.source):
        raise Invalid((Fault("source", HIDDEN),))
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
        options = json.loads(form.fields[given[0]])
    except (ValueError, RecursionError) as error:
        faults.append(Fault(given[0], f"not JSON: {error}"))
        return None
    if not isinstance(options, dict):
        faults.append(Fault(given[0], "a JSON object is wanted"))
        return None
    return options


def folder_of(uploads_prefix: str, batch_id: str) -> str:
    """Prefix of the images of an upload in the source store, where no other request has its batch id."""
    return f"{uploads_prefix}/{batch_id}/"


def new_attempt_folder(uploads_prefix: str, batch_id: str) -> str:
    """Prefix for the images of one request of several with this batch id, so that it removes only its own."""
    return f"{uploads_prefix}/{batch_id}{ATTEMPT}{secrets.token_hex(8)}/"


def record_key(uploads_prefix: str, batch_id: str) -> str:
    """Where it is written down what was sent under an idempotency key."""
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
