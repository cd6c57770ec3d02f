"""Reads parameters of requests."""

from muniflow.errors import Rejected
from muniflow.runtime.http import Query


def number_of(query: Query, name: str, default: int, largest: int | None = None) -> int:
    """Return a number of a query; with `largest`, one from 1 to that.

    Raises:
        Rejected: it is none, or out of range.
    """
    text = query.get(name)
    if text is None:
        return default
    try:
        number = int(text)
    except ValueError:
        raise Rejected(f"{name}: write a number, not {text[:20]!r}") from None
    if largest is not None and not 1 <= number <= largest:
        raise Rejected(f"{name}: 1 to {largest}")
    if abs(number) > 2**53:
        raise Rejected(f"{name}: too large")
    return number
