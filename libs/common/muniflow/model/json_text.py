"""JSON that people write: some editors put a byte order mark before it, which `json.loads` refuses in text."""

import json
from typing import Any

_MARK = "\ufeff"


def read_json(text: str | bytes) -> Any:
    """The value of a JSON text, with or without a byte order mark.

    Raises:
        ValueError: not JSON.
        RecursionError: nested too deeply.
    """
    return json.loads(text.removeprefix(_MARK) if isinstance(text, str) else text)
