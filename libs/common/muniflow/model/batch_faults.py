"""What is wrong with a batch document beyond its single fields: between them, and in keys and names. Pure."""

import re

from muniflow.errors import Fault
from muniflow.model.batch_document import BatchDocument
from muniflow.model.keys import as_prefix, is_upload, key_problem, place_problem
from muniflow.model.messages import WITH_ALPHA
from muniflow.model.output_form import output_faults, read_encoding

BATCH_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_IMAGES = frozenset({"source", "images", "manifest"})
_ALPHA = frozenset({"output", "alpha", "background", "bands"})


def document_faults(document: BatchDocument, unread: frozenset[str]) -> list[Fault]:
    """What is wrong with fields that could be read each; those of `unread` could not, and have their default."""
    faults = []
    if document.batch_id is not None and not BATCH_ID.fullmatch(document.batch_id):
        faults.append(Fault("batch_id", "1 to 80 letters, digits, '.', '_' or '-', starting with a letter or digit"))
    if document.images is not None and document.manifest is not None:
        faults.append(Fault("manifest", "give `images` or `manifest`, not both"))
    if not unread & _IMAGES and (document.source, document.images, document.manifest) == (None, None, None):
        faults.append(Fault("source", "say which images: `source`, `images` or `manifest`"))
    source = None if _is_own_upload(document) else document.source
    for place, value in {"source": source, "destination": document.destination}.items():
        if value and (problem := place_problem(value.rstrip("/"))):
            faults.append(Fault(place, problem))
    if document.manifest is not None and (problem := place_problem(document.manifest)):
        faults.append(Fault("manifest", problem))
    for number, key in enumerate(document.images or ()):
        if problem := key_problem(key):
            faults.append(Fault(f"images[{number}]", problem))
    unsure = bool(unread & _ALPHA)
    return faults + (output_faults(document.output) or ([] if unsure else _alpha_faults(document)))


def _is_own_upload(document: BatchDocument) -> bool:
    """Whether its images were sent with it: the one hidden folder that a batch can name."""
    return document.batch_id is not None and is_upload(as_prefix(document.source), document.batch_id)


def _alpha_faults(document: BatchDocument) -> list[Fault]:
    name = read_encoding(document.output).format
    if document.alpha == "keep" and name not in WITH_ALPHA:
        return [Fault("alpha", f"{name} has no alpha; formats that have: {', '.join(sorted(WITH_ALPHA))}")]
    if document.alpha is not None and document.bands is not None:
        return [Fault("alpha", "not together with `bands`, which are three")]
    if document.background is not None and name in WITH_ALPHA and document.alpha != "flatten":
        return [Fault("background", "nothing is laid over it where alpha is kept: write `alpha` as `flatten`, too")]
    return []
