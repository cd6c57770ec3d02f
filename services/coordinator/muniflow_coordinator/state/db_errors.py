"""Which errors of a database mean that it is away, and which are bugs."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnection

from muniflow.errors import Unavailable

_AWAY = {"OperationalError", "InterfaceError", "InternalError"}
"""Locked, no space, no network, shut down, read-only: classes of every driver, and all that derive from them."""
_FOR_AN_ADMINISTRATOR = {"42P01", "42501"}
"""No such table, no permission: somebody took something away, and can give it back."""
_MAX_CHARS = 300


@contextmanager
def translated() -> Iterator[None]:
    """Turn trouble of the database into `Unavailable`; a bug in a statement stays what it is."""
    try:
        yield
    except NoConnection as error:
        raise Unavailable("state database", "all its connections are in use") from error
    except DBAPIError as error:
        if error.orig is not None and is_away(error.orig):
            raise Unavailable("state database", one_line(error.orig)) from error
        raise


def is_away(error: BaseException) -> bool:
    """Whether a driver's error is trouble of the database, which may pass."""
    if getattr(error, "sqlstate", None) in _FOR_AN_ADMINISTRATOR or type(error).__name__ == "DatabaseError":
        return True
    return any(kind.__name__ in _AWAY for kind in type(error).__mro__)


def one_line(error: BaseException) -> str:
    """What a driver says, in one line: PostgreSQL's client writes a line for each address that it tried."""
    return " ".join(str(error).split())[:_MAX_CHARS]
