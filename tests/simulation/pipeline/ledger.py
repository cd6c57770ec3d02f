"""The real ledger on SQLite in memory: its commits fail, or are made although nobody learns of it."""

import sqlite3
from collections.abc import Callable
from functools import cache
from typing import Any

from sqlalchemy import StaticPool, create_engine, event
from tests.simulation.pipeline.simulation import Process, Simulation

from muniflow.runtime.failpoints import Failpoints
from muniflow_coordinator.state.opening import _begin_immediate
from muniflow_coordinator.state.sql import SqlState

Row = tuple[Any, ...]


class SimConnection(sqlite3.Connection):
    """A connection whose commits go through a database that may be away."""

    database: "Database"

    def commit(self) -> None:
        if self.in_transaction:
            self.database.commit(super().commit)
        else:
            super().commit()

    def close(self) -> None:
        """SQLAlchemy closes the connection of a killed process; the others go on with it."""
        self.rollback()

    def rollback(self) -> None:
        super().rollback()
        self.database.on_rollback()


class Database:
    """One database server for all coordinators. `watch` sees every change of an image as it is made."""

    def __init__(self, sim: Simulation) -> None:
        self.sim = sim
        self.away: str | None = None
        self.slow_s = 0.0
        """How long a commit blocks its process."""
        self.doubts: list[str] = []
        """What happens to the next commits: `refused`, or `unheard`: made, and the answer is lost."""
        self.on_commit: Callable[[], None] = lambda: None
        self.on_rollback: Callable[[], None] = lambda: None
        self.watch: Callable[..., None] = lambda *_: None
        self.connection = sqlite3.connect(
            ":memory:", isolation_level=None, check_same_thread=False, factory=SimConnection
        )
        self.connection.database = self
        self.connection.deserialize(_template())
        self._watch_images()
        self._engine = create_engine("sqlite://", creator=lambda: self.connection, poolclass=StaticPool)
        self._writer = create_engine("sqlite://", creator=lambda: self.connection, poolclass=StaticPool)
        event.listen(self._writer, "begin", _begin_immediate)
        for engine in (self._engine, self._writer):
            event.listen(engine, "before_cursor_execute", self._asked)

    def state(self, failpoints: Failpoints) -> SqlState:
        """A process's own view of it."""
        return SqlState(self._writer, self._engine, self.sim, failpoints)

    def rows(self, query: str, *values: object) -> list[Row]:
        """Read for the checks, past all faults."""
        return self.connection.execute(query, values).fetchall()

    def end(self) -> None:
        """Close it for good. SQLite holds `watch`, and so the whole run, where the garbage collector cannot look."""
        self.connection.create_function("watch", 6, None)
        sqlite3.Connection.close(self.connection)

    def commit(self, commit: Callable[[], None]) -> None:
        self.sim.reach("ledger.commit")
        doubt = self.doubts.pop(0) if self.doubts else None
        if self.away is not None or doubt == "refused":
            raise sqlite3.OperationalError(self.away or "disk I/O error")
        commit()
        self.on_commit()
        if self.slow_s:
            self.sim.pause(self.slow_s)
        self.sim.reach("ledger.committed")
        if doubt == "unheard":
            raise sqlite3.OperationalError("server closed the connection unexpectedly")

    def _asked(self, *_: object) -> None:
        if self.away is not None:
            raise sqlite3.OperationalError(self.away)

    def _see(self, *change: object) -> None:
        self.watch(*change)

    def _watch_images(self) -> None:
        self.connection.create_function("watch", 6, self._see)
        self.connection.execute(
            "create temp trigger image_changes after update of state, run on images begin"
            " select watch(new.batch, new.n, old.state, new.state, old.run, new.run); end"
        )


@cache
def _template() -> bytes:
    """The empty tables, made once."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    event.listen(engine, "begin", _begin_immediate)
    event.listen(engine, "connect", lambda connection, _: setattr(connection, "isolation_level", None))
    state = SqlState(engine, engine, Simulation(0), Failpoints())
    state.prepare()
    raw: Any = engine.raw_connection().driver_connection
    content: bytes = raw.serialize()
    state.close()
    return content


class SimLock:
    """The leader lock as a database session holds it: it ends with its process, or some time after its last answer."""

    poll_s, renew_s, valid_s = 1.0, 2.0, 8.0
    idle_s = 9.0

    def __init__(self, sim: Simulation, database: Database, process: Process, shared: "LockServer") -> None:
        self._sim, self._database, self._process, self._shared = sim, database, process, shared

    @property
    def holder(self) -> str | None:
        return None if self._shared.process is None else self._shared.process.name

    def acquire(self) -> bool:
        self._available()
        if not self._shared.free(self._sim.monotonic_s()):
            return False
        self._shared.process, self._shared.heard_s = self._process, self._sim.monotonic_s()
        return True

    def renew(self) -> bool:
        self._available()
        if self._shared.process is not self._process or self._shared.free(self._sim.monotonic_s()):
            return False
        self._shared.heard_s = self._sim.monotonic_s()
        return True

    def release(self) -> None:
        if self._shared.process is self._process:
            self._shared.process = None

    def _available(self) -> None:
        from muniflow.errors import Unavailable

        if self._database.away is not None:
            raise Unavailable("state database", self._database.away)


class LockServer:
    """Who holds the lock, as the database knows it."""

    process: Process | None = None
    heard_s = 0.0
    frees_s = 0.0
    """After the death of its holder: when the database learns of it."""

    def free(self, now_s: float) -> bool:
        return self.process is None or not self.process.alive or now_s - self.heard_s > SimLock.idle_s
