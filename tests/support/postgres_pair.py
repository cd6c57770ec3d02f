"""A PostgreSQL with a synchronous standby, which takes its place when it crashes."""

import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.postgres import LIMIT_S, PrivatePostgres, running_server
from tests.support.waiting import eventually

from muniflow_cli.stack.ports import free_ports

SYNCED = "select count(*) from pg_stat_replication where sync_state = 'sync'"


class PostgresPair:
    """Two servers; what one has committed, the other one has, too."""

    def __init__(self, primary: PrivatePostgres, standby: PrivatePostgres) -> None:
        self.primary, self.standby = primary, standby
        self.url = (
            f"postgresql://muniflow@/postgres?host=127.0.0.1:{primary.port}&host=127.0.0.1:{standby.port}"
            "&target_session_attrs=read-write"
        )
        """Of whichever takes writes."""
        self.join()

    def join(self) -> None:
        """Make the standby anew; commits wait for it from now on."""
        self.standby.follow(self.primary)
        self.standby.start()
        self._let_wait("set synchronous_standby_names = '*'")
        eventually(lambda: self.primary.ask(SYNCED) == [(1,)], LIMIT_S, "a synchronous standby")

    def fail_over(self) -> None:
        """The primary crashes, and its standby is promoted."""
        self.primary.stop(signal.SIGQUIT)
        self.primary, self.standby = self.standby, self.primary
        self.primary.ask(f"select pg_promote(true, {LIMIT_S:.0f})")
        self._let_wait("reset synchronous_standby_names")  # there is no other one yet

    def _let_wait(self, what: str) -> None:
        self.primary.ask(f"alter system {what}", "select pg_reload_conf()")


@contextmanager
def running_pair() -> Iterator[PostgresPair]:
    """Two new servers, gone afterwards; without PostgreSQL the test is skipped, in CI it fails."""
    with running_server() as primary:
        home = Path(tempfile.mkdtemp(prefix="muniflow-postgres-"))
        standby = primary.another(home, *free_ports(1))
        pair = PostgresPair(primary, standby)
        try:
            yield pair
        finally:
            for server in (pair.standby, pair.primary):
                server.stop(signal.SIGQUIT)
            shutil.rmtree(home, ignore_errors=True)
            home.with_name(f"{home.name}.log").unlink(missing_ok=True)
