"""Reads parameters of requests, and pages answers."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from muniflow.errors import Rejected
from muniflow.runtime.http import Query

Row = TypeVar("Row")
Place = TypeVar("Place")


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


def page_of(query: Query, most: int) -> tuple[int, int | None]:
    """Return how many rows of a list, newest first, are asked for, and the number below which they begin.

    Raises:
        Rejected: one of them is no number, or out of range.
    """
    return number_of(query, "limit", 50, most), number_of(query, "after", 0) or None


def next_after(rows: Sequence[Row], limit: int, place: Callable[[Row], Place]) -> Place | None:
    """Return where the next page begins, by the last row of this one; `None` where there is no more."""
    return place(rows[-1]) if len(rows) == limit else None
