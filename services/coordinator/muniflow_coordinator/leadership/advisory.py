"""The leader lock for PostgreSQL: an advisory lock in a session of its own, which ends with its connection."""

from contextlib import suppress

from sqlalchemy import URL, Connection, NullPool, text
from sqlalchemy.exc import SQLAlchemyError

from muniflow.errors import Rejected
from muniflow_coordinator.state.db_errors import translated
from muniflow_coordinator.state.opening import postgres_engine

OLDEST_VERSION = 140_000
"""PostgreSQL 14: the first with `idle_session_timeout`."""
IDLE_TIMEOUT_S = 9
"""PostgreSQL ends the session, and with it the lock, of a process that is stopped or disconnected."""
_KEY = 0x6D75_6E69  # "muni"
# The schema is part of the key: two installations may share a database.
_TRY = text("select coalesce(pg_try_advisory_lock(:key, hashtext(current_schema())), false)")
_HOLDER = text(
    "select a.client_addr::text || ' process ' || a.pid from pg_locks l join pg_stat_activity a using (pid)"
    " where l.locktype = 'advisory' and l.granted and l.objsubid = 2 and l.classid::bigint = :key limit 1"
)


class AdvisoryLock:
    """A `Lock` by `pg_try_advisory_lock`. It needs a real session: no pooler in transaction mode."""

    poll_s = 1.0
    renew_s = 2.0
    valid_s = 8.0  # less than IDLE_TIMEOUT_S: a holder that was silent for longer may have lost it

    def __init__(self, url: URL) -> None:
        """Lock in the database at `url`; opens nothing yet."""
        settings = {"statement_timeout": "3s", "idle_session_timeout": f"{IDLE_TIMEOUT_S}s"}
        self._engine = postgres_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT", settings=settings)
        self._plain = postgres_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT", settings={})
        self._connection: Connection | None = None
        self._checked = False
        self._holder: str | None = None

    @property
    def holder(self) -> str | None:
        """Return the session that holds it, as of the last attempt."""
        return self._holder

    def acquire(self) -> bool:
        """Try to lock; while another process holds it, the connection stays open for the next attempt."""
        with translated():
            self._check_version()
            try:
                if self._connection is None:
                    self._connection = self._engine.connect()
                if self._connection.execute(_TRY, {"key": _KEY}).scalar_one():
                    self._holder = None
                    return True
                self._holder = self._connection.execute(_HOLDER, {"key": _KEY}).scalar_one_or_none()
            except SQLAlchemyError:
                self.release()
                raise
        return False

    def renew(self) -> bool:
        """Return whether the session is alive. With a broken session the lock is lost."""
        if self._connection is None:
            return False
        try:
            self._connection.execute(text("select 1"))
        except SQLAlchemyError:
            self.release()
            return False
        return True

    def release(self) -> None:
        """Close the session."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(SQLAlchemyError):
                connection.invalidate()  # sends nothing more: a dead server would not answer
            with suppress(SQLAlchemyError):
                connection.close()

    def _check_version(self) -> None:
        if self._checked:
            return
        with self._plain.connect() as connection:
            version = int(connection.execute(text("show server_version_num")).scalar_one())
        if version < OLDEST_VERSION:
            raise Rejected(f"PostgreSQL {version // 10_000} is too old: muniflow needs 14 or later")
        self._checked = True
