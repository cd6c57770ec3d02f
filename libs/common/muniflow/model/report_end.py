"""The last line of a report: it seals all bytes before it, so that a report that was changed or cut off is seen."""

import re

_LAST = re.compile(rb'\], "sha256": "([0-9a-f]{64})"\}')
_UNSEALED = b"]}"
"""Of earlier builds."""


def last_line(digest: str) -> bytes:
    """The line, with its end.

    Args:
        digest: SHA-256 of all lines before it, with their ends, in hexadecimal.
    """
    return f'], "sha256": "{digest}"}}\n'.encode()


def is_last(line: bytes) -> bool:
    """Whether a line, without its end, ends a report of this build or an earlier one."""
    return line == _UNSEALED or _LAST.fullmatch(line) is not None


def seal_of(line: bytes) -> str | None:
    """The digest in a last line; `None` in that of an earlier build."""
    found = _LAST.fullmatch(line)
    return None if found is None else found[1].decode()
