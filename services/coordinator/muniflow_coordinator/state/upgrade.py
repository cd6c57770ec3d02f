"""The schema of a database: made, brought up to date, checked."""

import time

from sqlalchemy import Connection, Engine, func, insert, inspect, select, update

from muniflow.errors import Rejected
from muniflow_coordinator.state.tables import SCHEMA_VERSION, leadership, metadata, schema

_LOCK = int.from_bytes(b"muniflow")
"""Of PostgreSQL's advisory locks: two processes that start together must not make the same table."""


def upgrade(engine: Engine) -> None:
    """Make or upgrade the tables, in one transaction; quick when there is nothing to do.

    Raises:
        Rejected: the database was written by a newer version of muniflow.
    """
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
        found = check_version(connection)
        if found == SCHEMA_VERSION:
            return
        metadata.create_all(connection)
        if found is None:
            connection.execute(insert(schema).values(version=SCHEMA_VERSION))
        else:
            # Steps from one version to the next go here, oldest first. Version 2 only added tables.
            connection.execute(update(schema).values(version=SCHEMA_VERSION))
        if connection.execute(select(leadership.c.epoch)).first() is None:
            connection.execute(insert(leadership).values(one=1, epoch=1, holder="", since=time.time()))
        else:
            # Whoever works on the old schema must stop.
            connection.execute(update(leadership).values(epoch=leadership.c.epoch + 1, holder=""))


def check_version(connection: Connection) -> int | None:
    """The version of the schema; `None` in an empty database.

    Raises:
        Rejected: it is newer than what this muniflow knows.
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
