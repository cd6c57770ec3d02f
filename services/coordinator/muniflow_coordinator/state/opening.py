"""Opens the database: SQLite or PostgreSQL, with the settings of its connections."""

import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, QueuePool, StaticPool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from muniflow.errors import Fault, Invalid
from muniflow.runtime.clock import SYSTEM_CLOCK, Clock
from muniflow.runtime.failpoints import Failpoints
from muniflow_coordinator.state.sql import SqlState

BUSY_TIMEOUT_S = 2.0
"""How long a writer waits for another one (an administrator with a shell) before the database counts as unavailable."""
WAL_TRIES = 10
CONNECT_TIMEOUT_S = 3
SILENCE_TIMEOUT_S = 5
"""A PostgreSQL that answers no packet for this long is unavailable. The loop is blocked meanwhile."""
STATEMENT_TIMEOUT_S = 20
FROZEN_TIMEOUT_S = 5
"""PostgreSQL ends a transaction after this long without a statement: a stopped process must not keep its locks."""
WRITER_CACHE_KB, READER_CACHE_KB = 16_000, 4_000
"""SQLite's page cache, for each connection."""
READERS = 4
"""Connections that stay open for readers."""
HOW = "write sqlite:///path/to/file or postgresql+psycopg://user:password@host/database"
_POSTGRES = {"postgresql", "postgres", "postgresql+psycopg"}


def open_state(database_url: str, clock: Clock = SYSTEM_CLOCK, failpoints: Failpoints | None = None) -> SqlState:
    """Call `connect_state`, and make or upgrade the tables.

    Raises:
        Invalid: not the URL of a supported database.
        Rejected: the database was written by a newer version of muniflow.
        Unavailable: it cannot be opened now.
    """
    state = connect_state(database_url, clock, failpoints or Failpoints())
    try:
        state.prepare()
    except BaseException:
        state.close()
        raise
    return state


def connect_state(database_url: str, clock: Clock, failpoints: Failpoints) -> SqlState:
    """Make the state store of the database at `sqlite:///path` or `postgresql+psycopg://…`; opens nothing yet.

    Raises:
        Invalid: not the URL of a supported database.
    """
    url = parse_database_url(database_url)
    synced = not failpoints.skips("ledger.sync")
    if is_sqlite(url):
        # The writer keeps its connection, so that a commit costs nothing else.
        writer = _sqlite_engine(url, WRITER_CACHE_KB, synced=synced, poolclass=StaticPool)
        # Locks at the beginning: what a transaction has read cannot change before its commit.
        event.listen(writer, "begin", _begin_immediate)
        readers = _sqlite_engine(url, READER_CACHE_KB, poolclass=QueuePool, pool_size=READERS, max_overflow=32)
        return SqlState(writer, readers, clock, failpoints)
    writer = postgres_engine(
        url,
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        settings={
            "synchronous_commit": "on" if synced else "off",
            "statement_timeout": f"{STATEMENT_TIMEOUT_S}s",
            "lock_timeout": f"{BUSY_TIMEOUT_S:.0f}s",
            "idle_in_transaction_session_timeout": f"{FROZEN_TIMEOUT_S}s",
        },
    )
    readers = postgres_engine(
        url,
        poolclass=QueuePool,
        pool_size=READERS,
        max_overflow=32,
        pool_pre_ping=True,
        isolation_level="AUTOCOMMIT",
        settings={},
    )
    return SqlState(writer, readers, clock, failpoints)


def parse_database_url(database_url: str) -> URL:
    """Return the URL of a supported database, with the driver that is used.

    Raises:
        Invalid: not a URL, or not a supported database.
    """
    try:
        url = make_url(database_url)
    except ArgumentError:
        raise _invalid(f"not a database URL; {HOW}") from None
    if url.drivername in _POSTGRES:
        try:
            import psycopg  # noqa: F401 - only whether it is installed
        except ImportError:
            raise _invalid("PostgreSQL needs psycopg: pip install 'muniflow-coordinator[postgres]'") from None
        return url.set(drivername="postgresql+psycopg")
    if not is_sqlite(url):
        raise _invalid(f"{url.drivername} is not supported; {HOW}")
    if not url.database or url.database == ":memory:":
        raise _invalid(f"a database in memory is lost with its process; {HOW}")
    return url


def is_sqlite(url: URL) -> bool:
    """Return whether it is SQLite."""
    return url.get_backend_name() == "sqlite"


def postgres_engine(url: URL, *, settings: dict[str, str], **options: Any) -> Engine:
    """Return an engine for PostgreSQL that detects a silent server; `settings` are those of its sessions."""
    given = url.query.get("options", "")
    wanted = " ".join(f"-c {name}={value}" for name, value in settings.items())
    arguments = {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "tcp_user_timeout": SILENCE_TIMEOUT_S * 1000,
        "keepalives_idle": SILENCE_TIMEOUT_S,
        "keepalives_interval": 2,
        "keepalives_count": 2,
        "application_name": "muniflow-coordinator",
        "options": f"{given if isinstance(given, str) else ' '.join(given)} {wanted}".strip(),
    }
    return create_engine(url, connect_args=arguments, **options)


def _invalid(problem: str) -> Invalid:
    # Without the URL itself, which may contain a password.
    return Invalid((Fault("MUNIFLOW_DATABASE_URL", problem),))


def _sqlite_engine(url: URL, cache_kb: int, *, synced: bool = True, **options: Any) -> Engine:
    Path(url.database or "").parent.mkdir(parents=True, exist_ok=True)
    # Without an isolation level, the driver begins no transactions by itself.
    arguments = {"check_same_thread": False, "timeout": BUSY_TIMEOUT_S, "isolation_level": None}
    engine = create_engine(url, connect_args=arguments, **options)

    def configure(connection: Any, _record: object) -> None:
        _hide_new(Path(url.database or ""))
        cursor = connection.cursor()
        _use_wal(cursor)
        sync = f"synchronous={'FULL' if synced else 'OFF'}"
        # What is deleted is written over: an erased batch is gone from the file, too.
        for pragma in (sync, "foreign_keys=ON", f"cache_size=-{cache_kb}", "secure_delete=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    event.listen(engine, "connect", configure)
    return engine


def _hide_new(path: Path) -> None:
    """Let nobody else read a new file; SQLite gives its log the same rights. An earlier file keeps its own."""
    with suppress(FileNotFoundError):  # in memory
        if path.stat().st_size == 0:
            path.chmod(0o600)


def _use_wal(cursor: sqlite3.Cursor) -> None:
    """Turn the write-ahead log on; waits for other processes that do so at the same moment.

    SQLite itself does not wait here: two connections that change the journal of a new file would each wait for the
    other, so it refuses one at once. For a transaction it does wait, as long as `BUSY_TIMEOUT_S`.
    """
    for last in (*[False] * WAL_TRIES, True):
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if last or error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
        else:
            return
        cursor.execute("BEGIN IMMEDIATE")
        cursor.execute("COMMIT")


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
