"""Tells database outages from bugs."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnection

from muniflow.errors import Unavailable

_AWAY = {"OperationalError", "InterfaceError", "InternalError"}
"""Locked, no space, no network, shut down, read-only: error classes of every driver, with their subclasses."""
_FOR_AN_ADMINISTRATOR = {"42P01", "42501"}
"""No such table, no permission: an administrator can undo it."""
_MAX_CHARS = 300


@contextmanager
def translated() -> Iterator[None]:
    """Turn errors of an outage into `Unavailable`; a bug in a statement stays as it is."""
    try:
        yield
    except NoConnection as error:
        raise Unavailable("state database", "all its connections are in use") from error
    except DBAPIError as error:
        if error.orig is not None and is_away(error.orig):
            raise Unavailable("state database", one_line(error.orig)) from error
        raise


def is_away(error: BaseException) -> bool:
    """Return whether a driver's error is an outage, which may end by itself."""
    if getattr(error, "sqlstate", None) in _FOR_AN_ADMINISTRATOR or type(error).__name__ == "DatabaseError":
        return True
    return any(kind.__name__ in _AWAY for kind in type(error).__mro__)


def one_line(error: BaseException) -> str:
    """Return the text of an error in one line: PostgreSQL's client writes one line for each address that it tried."""
    return " ".join(str(error).split())[:_MAX_CHARS]
