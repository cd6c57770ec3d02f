"""Where the coordinators of the chaos tests keep their ledgers: a file of each harness, or a private PostgreSQL.

`CHAOS_LEDGER=postgresql make chaos` runs all of them with the latter.
"""

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.support.postgres import PrivatePostgres

LEDGER = "CHAOS_LEDGER"


class Ledgers:
    """Makes an empty ledger for each harness."""

    server: PrivatePostgres | None = None

    def url(self, folder: Path) -> str:
        """The URL of a new one; `folder` is the harness's own."""
        if self.server is None:
            return f"sqlite:///{folder}/ledger.sqlite"
        import psycopg

        schema = f"chaos_{secrets.token_hex(4)}"
        with psycopg.connect(self.server.url, autocommit=True) as connection:
            connection.execute(f"create schema {schema}".encode())
        return f"{self.server.url}?options=-csearch_path%3D{schema}"


@contextmanager
def locked(url: str) -> Iterator[None]:
    """Nobody can write to this ledger; who reads it is served."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")
    else:
        import psycopg

        with psycopg.connect(url) as connection:
            connection.execute("lock table batches in exclusive mode")
            yield
            connection.rollback()


LEDGERS = Ledgers()
"""Of this process: one server for all harnesses."""


def wants_postgres() -> bool:
    """Whether this run was asked for PostgreSQL."""
    chosen = os.environ.get(LEDGER) or "sqlite"
    assert chosen in {"sqlite", "postgresql"}, f"{LEDGER} is sqlite or postgresql, not {chosen!r}"
    return chosen == "postgresql"
