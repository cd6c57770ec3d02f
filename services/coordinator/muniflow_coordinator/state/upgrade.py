"""Creates, upgrades and checks the schema of a database."""

import logging

from sqlalchemy import Connection, Engine, func, insert, inspect, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateColumn

from muniflow.errors import Rejected
from muniflow.reason_codes import UNKNOWN
from muniflow_coordinator.state.tables import (
    ADDED,
    ADVISORY,
    SCHEMA_VERSION,
    failure,
    images,
    leadership,
    metadata,
    schema,
)

log = logging.getLogger(__name__)

_NO_PERMISSION = "42501"
_LOCK = int.from_bytes(b"muniflow")
"""Key of an advisory lock of PostgreSQL: two processes that start together must not create the same table."""


def upgrade(engine: Engine, now: float) -> None:
    """Create or upgrade the tables, in one transaction; fast if there is nothing to do.

    Args:
        engine: writes to the database.
        now: Unix time, seconds.

    Raises:
        Rejected: the database was written by a newer version of muniflow.
    """
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
        found = check_version(connection)
        metadata.create_all(connection, tables=[table for table in metadata.sorted_tables if table not in ADVISORY])
        _add_columns(connection)
        _create_advisory(connection)
        if found == SCHEMA_VERSION:
            return
        if found is None:
            connection.execute(insert(schema).values(version=SCHEMA_VERSION))
        else:
            # Steps from one version to the next go here, oldest first. Version 2 only added tables.
            connection.execute(update(schema).values(version=SCHEMA_VERSION))
        if connection.execute(select(leadership.c.epoch)).first() is None:
            connection.execute(insert(leadership).values(one=1, epoch=1, holder="", since=now))
        else:
            # A coordinator that uses the old schema must stop.
            connection.execute(update(leadership).values(epoch=leadership.c.epoch + 1, holder=""))


def _add_columns(connection: Connection) -> None:
    """Add the columns, and their indices, that a database of an earlier build lacks."""
    for table in {column.table.name: column.table for column in ADDED}.values():
        known = {each["name"] for each in inspect(connection).get_columns(table.name)}
        for column in ADDED:
            if column.table is table and column.name not in known:
                written = CreateColumn(column).compile(dialect=connection.dialect)
                connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {written}")
        for index in table.indexes:
            index.create(connection, checkfirst=True)
    # Failures of earlier builds, also of one that ran for a while since, after a rollback.
    without = failure & images.c.reason_code.is_(None)
    connection.execute(update(images).where(without).values(reason_code=UNKNOWN, operation=""))


def _create_advisory(connection: Connection) -> None:
    """Create the tables that the ledger can do without; a role that may not create any goes on."""
    for table in ADVISORY:
        try:
            with connection.begin_nested():
                table.create(connection, checkfirst=True)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) != _NO_PERMISSION:
                raise
            log.warning(
                "cannot create the table %s, so what it would keep is lost at each restart: the coordinator's role "
                "may not create tables. GRANT CREATE ON SCHEMA <its schema> TO <the role>, and start again",
                table.name,
            )


def check_version(connection: Connection) -> int | None:
    """Return the version of the schema; `None` for an empty database.

    Raises:
        Rejected: it is newer than this muniflow.
    """
    if not inspect(connection).has_table(schema.name):
        return None
    version = connection.execute(select(schema.c.version)).scalar_one_or_none()
    if version is not None and version > SCHEMA_VERSION:
        raise Rejected(
            f"the database has schema {version} and this muniflow knows up to {SCHEMA_VERSION}: "
            "start a muniflow at least as new as the one that wrote it"
        )
    return version
