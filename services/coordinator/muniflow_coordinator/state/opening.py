"""Opening a database: which one, and how its connections behave."""

from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, QueuePool, StaticPool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from muniflow.errors import Fault, Invalid
from muniflow_coordinator.state.sql import SqlState

BUSY_TIMEOUT_S = 2.0
"""How long a writer waits for another one, an administrator with a shell, before it counts as trouble."""
CONNECT_TIMEOUT_S = 3
SILENCE_TIMEOUT_S = 5
"""A PostgreSQL that answers no packet for this long is away. The loop stands still meanwhile."""
STATEMENT_TIMEOUT_S = 20
FROZEN_TIMEOUT_S = 5
"""PostgreSQL ends a transaction whose client does nothing for this long: a stopped process must not keep its locks."""
WRITER_CACHE_KB, READER_CACHE_KB = 16_000, 4_000
"""Of SQLite's pages, for each connection."""
READERS = 4
"""Connections that are kept open for the readers."""
HOW = "write sqlite:///path/to/file or postgresql+psycopg://user:password@host/database"
_POSTGRES = {"postgresql", "postgres", "postgresql+psycopg"}


def open_state(database_url: str) -> SqlState:
    """`connect_state`, and make or upgrade the tables.

    Raises:
        Invalid: not a URL of a database that can be used.
        Rejected: the database was written by a newer version of muniflow.
        Unavailable: it cannot be opened now.
    """
    state = connect_state(database_url)
    try:
        state.prepare()
    except BaseException:
        state.close()
        raise
    return state


def connect_state(database_url: str) -> SqlState:
    """The store of state in the database at `sqlite:///path` or `postgresql+psycopg://…`; opens nothing yet.

    Raises:
        Invalid: not a URL of a database that can be used.
    """
    url = parse_database_url(database_url)
    if is_sqlite(url):
        # The writer keeps one connection for ever, so that a commit pays for nothing but itself.
        writer = _sqlite_engine(url, WRITER_CACHE_KB, poolclass=StaticPool)
        # Takes the lock at the beginning: nothing that a transaction has seen can change before it commits.
        event.listen(writer, "begin", _begin_immediate)
        readers = _sqlite_engine(url, READER_CACHE_KB, poolclass=QueuePool, pool_size=READERS, max_overflow=32)
        return SqlState(writer, readers)
    writer = postgres_engine(
        url,
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        settings={
            "synchronous_commit": "on",
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
    return SqlState(writer, readers)


def parse_database_url(database_url: str) -> URL:
    """The URL of a database that can be used, with the driver that is used.

    Raises:
        Invalid: it is none.
    """
    try:
        url = make_url(database_url)
    except ArgumentError:
        raise _invalid(f"not a database URL; {HOW}") from None
    if url.drivername in _POSTGRES:
        try:
            import psycopg  # noqa: F401 - only whether it is there
        except ImportError:
            raise _invalid("PostgreSQL needs psycopg: pip install 'muniflow-coordinator[postgres]'") from None
        return url.set(drivername="postgresql+psycopg")
    if not is_sqlite(url):
        raise _invalid(f"{url.drivername} is not supported; {HOW}")
    if not url.database or url.database == ":memory:":
        raise _invalid(f"a ledger in memory is lost with its process; {HOW}")
    return url


def is_sqlite(url: URL) -> bool:
    """Whether it is a file of SQLite's."""
    return url.get_backend_name() == "sqlite"


def postgres_engine(url: URL, *, settings: dict[str, str], **options: Any) -> Engine:
    """Connections to PostgreSQL that give up on a silent server, with these settings of their sessions."""
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
    # Without the URL itself: it holds a password.
    return Invalid((Fault("MUNIFLOW_DATABASE_URL", problem),))


def _sqlite_engine(url: URL, cache_kb: int, **options: Any) -> Engine:
    Path(url.database or "").parent.mkdir(parents=True, exist_ok=True)
    # Without an isolation level, the driver begins no transactions by itself.
    arguments = {"check_same_thread": False, "timeout": BUSY_TIMEOUT_S, "isolation_level": None}
    engine = create_engine(url, connect_args=arguments, **options)

    def configure(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"cache_size=-{cache_kb}"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    event.listen(engine, "connect", configure)
    return engine


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
