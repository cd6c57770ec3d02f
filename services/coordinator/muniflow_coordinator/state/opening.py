"""Opening a database: its connections, and its schema brought up to date."""

from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, NullPool, StaticPool, create_engine, event, insert, make_url, select, update
from sqlalchemy.exc import ArgumentError

from muniflow.errors import Fault, Invalid, Rejected
from muniflow_coordinator.state.sql import SqlState, translated
from muniflow_coordinator.state.tables import SCHEMA_VERSION, metadata, schema

BUSY_TIMEOUT_S = 2.0
"""How long a writer waits for another one, an administrator with a shell, before it counts as trouble."""


def open_state(database_url: str) -> SqlState:
    """Open the database at `sqlite:///path`, and make or upgrade its tables.

    Raises:
        Invalid: not a URL of a database that can be used.
        Rejected: the database was written by a newer version of muniflow.
        Unavailable: it cannot be opened now.
    """
    url = _checked(database_url)
    # The writer keeps one connection for ever, so that a commit pays for nothing but itself.
    writer = _engine(url, poolclass=StaticPool)
    with translated():
        _upgrade(writer)
    return SqlState(writer, _engine(url, poolclass=NullPool))


def _checked(database_url: str) -> URL:
    place = "MUNIFLOW_DATABASE_URL"
    try:
        url = make_url(database_url)
    except ArgumentError:
        raise Invalid(
            (Fault(place, f"{database_url!r} is not a database URL; write sqlite:///path/to/file"),)
        ) from None
    if url.get_backend_name() != "sqlite":
        raise Invalid((Fault(place, f"{url.get_backend_name()} is not supported; write sqlite:///path/to/file"),))
    if not url.database or url.database == ":memory:":
        raise Invalid((Fault(place, "a ledger in memory is lost with its process; write sqlite:///path/to/file"),))
    Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    return url


def _engine(url: URL, **options: Any) -> Engine:
    arguments = {"check_same_thread": False, "timeout": BUSY_TIMEOUT_S}
    engine = create_engine(url, connect_args=arguments, **options)
    event.listen(engine, "connect", _configure)
    return engine


def _configure(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "cache_size=-16000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _upgrade(engine: Engine) -> None:
    schema.create(engine, checkfirst=True)
    with engine.begin() as connection:
        version = connection.execute(select(schema.c.version)).scalar_one_or_none()
        if version is None:
            connection.execute(insert(schema).values(version=SCHEMA_VERSION))
        elif version > SCHEMA_VERSION:
            raise Rejected(
                f"the database has schema {version} and this muniflow knows up to {SCHEMA_VERSION}: "
                "start a muniflow at least as new as the one that wrote it"
            )
        elif version < SCHEMA_VERSION:
            # Steps from one version to the next go here, oldest first, in this one transaction.
            connection.execute(update(schema).values(version=SCHEMA_VERSION))
        metadata.create_all(connection)
