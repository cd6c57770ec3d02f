"""What makes two batch documents the same batch: what they make, and not when, whether, or what is recorded of it."""

import hashlib
import json
from typing import Final

from muniflow.model.batch_document import BatchDocument
from muniflow.model.encoding import Encoding
from muniflow.model.messages import Route
from muniflow.model.rendering import Rendering

TURNS: Final = frozenset({"deadline", "priority"})
"""Fields that say when a batch runs, and nothing of what it makes: sent again with others, it is the same batch."""
CONDITIONS: Final = frozenset({"strict", "replace", "again"})
"""Fields that say whether a batch may run: sent again with others, it is the same batch, too."""
LABELS: Final = frozenset({"name", "callback"})
"""Fields that say what it is called and who is told: sent again with others, it is the same batch, too."""
RETENTION: Final = frozenset({"keep_days"})
"""Fields that say how long it is kept: sent again with others, it is the same batch, too."""
RECORDS: Final = frozenset({"checksums"})
"""Fields that say what its report has: sent again with others, it is the same batch, too."""


def fingerprint_of(document: BatchDocument, route: Route, encoding: Encoding, rendering: Rendering | None) -> str:
    """SHA-256 of the content of a batch without its id and without the fields named above."""
    apart = {
        "batch_id",
        "operations",
        "output",
        *TURNS,
        *CONDITIONS,
        *LABELS,
        *RETENTION,
        *RECORDS,
        *Rendering.model_fields,
    }
    content = document.model_dump(mode="json", exclude=apart)
    # What is left at its default adds nothing, so that documents keep the fingerprints of builds before.
    content.update(rendering.chosen() if rendering is not None else {})
    content["route"] = [step.model_dump(mode="json") for step in route]
    content["encoding"] = encoding.model_dump(mode="json")
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
