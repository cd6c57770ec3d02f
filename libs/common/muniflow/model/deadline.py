"""When a batch should have ended, as people write it. Pure: the time comes with each call."""

import re
from datetime import MAXYEAR, UTC, datetime
from typing import Final

from muniflow.errors import Fault

DEADLINE: Final = "deadline"
"""The field of a batch, and the place of its faults."""
EXAMPLE: Final = "2030-06-01T17:00:00+02:00"
RFC_3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def read_time(text: str) -> float:
    """Unix seconds of an RFC 3339 time.

    Raises:
        ValueError: it is none, has no offset from UTC, or is in the last year that there is, which not every place can
            show in its own time.
    """
    try:
        if RFC_3339.fullmatch(text) and (moment := datetime.fromisoformat(text.upper()).astimezone(UTC)).year < MAXYEAR:
            return moment.timestamp()
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"write a time with its offset from UTC, such as {EXAMPLE}, not {text[:40]!r}")


def show_time(at: float) -> str:
    """Return unix seconds as an RFC 3339 time in UTC, in whole seconds."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def stated_at(deadline: str | None) -> float | None:
    """Unix seconds of the field of a document that was read; `None`: it states none."""
    return None if deadline is None else read_time(deadline)


def past_faults(deadline_at: float | None, now_at: float) -> tuple[Fault, ...]:
    """What is wrong with the deadline of a batch that nobody has accepted yet.

    A batch that is known already is never asked: it may be sent again, or go on after a restart, at any later time.
    """
    if deadline_at is None or deadline_at > now_at:
        return ()
    return (Fault(DEADLINE, f"is in the past: it was {show_time(deadline_at)}, and it is {show_time(now_at)}"),)
