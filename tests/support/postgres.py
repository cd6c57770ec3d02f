"""A private PostgreSQL for the tests: Debian's package `postgresql`, its data in one folder, a free port.

The fixtures are in `postgres_fixtures`.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.support.waiting import eventually

from muniflow_cli.stack.ports import free_ports

LIMIT_S = 60.0
USERS = ("postgres", "nobody")


def find_postgres() -> Path | None:
    """The folder of the newest installed server's programs, or `None`."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    return None if initdb is None else Path(initdb).resolve().parent


class PrivatePostgres:
    """A server of our own. PostgreSQL does not run as root, so root starts it as another user."""

    def __init__(self, programs: Path, home: Path, port: int) -> None:
        self.port = port
        self._programs = programs
        self._home = home
        self._data = home / "data"
        self._as: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql://muniflow@127.0.0.1:{self.port}/postgres"

    def create(self) -> None:
        """Make its files, owned by the user that it runs as."""
        self._make("initdb", "-U", "muniflow", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-instructions")

    def another(self, home: Path, port: int) -> "PrivatePostgres":
        """A server of the same programs, whose files are not made yet."""
        return PrivatePostgres(self._programs, home, port)

    def follow(self, primary: "PrivatePostgres") -> None:
        """Make its files anew as a standby of another server that runs."""
        shutil.rmtree(self._data, ignore_errors=True)
        place = ("-h", "127.0.0.1", "-p", str(primary.port), "-U", "muniflow")
        self._make("pg_basebackup", *place, "--write-recovery-conf", "--checkpoint=fast")

    def _make(self, program: str, *arguments: str) -> None:
        if os.geteuid() == 0:
            user = next(pwd.getpwnam(name) for name in USERS if _exists(name))
            os.chown(self._home, user.pw_uid, user.pw_gid)
            self._as = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        subprocess.run(
            [*self._as, str(self._programs / program), "-D", str(self._data), *arguments],
            check=True, capture_output=True, cwd=self._home, timeout=LIMIT_S,
        )  # fmt: skip

    def start(self) -> None:
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self._home),
            "fsync": "on",
            "max_connections": "60",
            "shared_buffers": "16MB",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self._home.parent / f"{self._home.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._as, str(self._programs / "postgres"), "-D", str(self._data), "-p", str(self.port), *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._home, start_new_session=True,
            )  # fmt: skip
        eventually(self._answers, LIMIT_S, "an answer of PostgreSQL")

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "PostgreSQL ended"
        with suppress(psycopg.OperationalError), psycopg.connect(self.url, connect_timeout=3):
            return True
        return False

    def stop(self, number: int = signal.SIGINT) -> None:
        """Stop it: SIGINT closes all connections first, SIGQUIT is as a crash."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(LIMIT_S)
            self._process = None

    def ask(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements, each by itself; returns the rows of the last one."""
        with psycopg.connect(self.url, autocommit=True, connect_timeout=3) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    @property
    def running(self) -> bool:
        return self._process is not None


def _exists(name: str) -> bool:
    with suppress(KeyError):
        return bool(pwd.getpwnam(name))
    return False


@contextmanager
def running_server() -> Iterator[PrivatePostgres]:
    """A new server, gone afterwards; without PostgreSQL the test is skipped, in CI it fails."""
    programs = find_postgres()
    if programs is None:
        missing = "no PostgreSQL: install Debian's package postgresql"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    # Not below pytest's own folder, which nobody but the current user may enter.
    home = Path(tempfile.mkdtemp(prefix="muniflow-postgres-"))
    (port,) = free_ports(1)
    server = PrivatePostgres(programs, home, port)
    try:
        server.create()
        server.start()
        yield server
    finally:
        server.stop(signal.SIGQUIT)
        shutil.rmtree(home, ignore_errors=True)
        home.with_name(f"{home.name}.log").unlink(missing_ok=True)
