"""What all writers of the state store share: transactions of the process that leads."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, bindparam, select

from muniflow.runtime.clock import Clock
from muniflow.runtime.failpoints import LEDGER_COMMITS, Failpoints, nothing
from muniflow_coordinator.errors import Deposed
from muniflow_coordinator.state.db_errors import translated
from muniflow_coordinator.state.reading import SqlReads
from muniflow_coordinator.state.tables import leadership

# The lock on the row makes a successor wait for this transaction, and this transaction see an earlier successor.
_MINE = select(leadership.c.epoch).where(leadership.c.epoch == bindparam("mine")).with_for_update(read=True)


class SqlWrites(SqlReads):
    """Opens transactions."""

    def __init__(self, writer: Engine, readers: Engine, clock: Clock, failpoints: Failpoints) -> None:
        """Write through `writer`, read through `readers`; nothing is opened before the first use."""
        super().__init__(readers)
        self._writer = writer
        self._clock = clock
        self._failpoints = {
            commit: (failpoints.at(f"ledger.before_{commit}"), failpoints.at(f"ledger.after_{commit}"))
            for commit in LEDGER_COMMITS
        }

    @contextmanager
    def _begin(self, commit: str | None) -> Iterator[Connection]:
        """Open a transaction; `commit` is its name in `LEDGER_COMMITS`, or `None` for one without failpoints here."""
        before, after = self._failpoints.get(commit or "", (nothing, nothing))
        before()
        with translated(), self._writer.begin() as connection:
            yield connection
        after()

    @contextmanager
    def _write(self, commit: str | None) -> Iterator[Connection]:
        """Open a transaction that only the process that took over last may commit.

        Raises:
            Deposed: another process has taken over since, or this one never did.
        """
        with self._begin(commit) as connection:
            if connection.execute(_MINE, {"mine": self._epoch}).first() is None:
                raise Deposed("another coordinator has taken over the database")
            yield connection
