"""The PostgreSQL of the tests: `pytest_plugins = ["tests.support.postgres_fixtures"]`, then ask for `postgres_url`."""

import secrets
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from tests.support.postgres import PrivatePostgres, running_server


@pytest.fixture(scope="session")
def postgres_of_tests() -> Iterator[PrivatePostgres]:
    """One server for each xdist worker: tests may stop and start it."""
    with running_server() as server:
        yield server


@pytest.fixture
def postgres(postgres_of_tests: PrivatePostgres) -> PrivatePostgres:
    """The server, running, whatever an earlier test did to it."""
    if not postgres_of_tests.running:
        postgres_of_tests.start()
    return postgres_of_tests


@pytest.fixture
def postgres_url(postgres: PrivatePostgres) -> Iterator[str]:
    """The URL of an empty schema: each test has its own."""
    schema = f"test_{secrets.token_hex(4)}"
    _execute(postgres, f"create schema {schema}")
    yield f"{postgres.url}?options=-csearch_path%3D{schema}"
    if postgres.running:
        _execute(postgres, f"drop schema {schema} cascade")


def _execute(server: PrivatePostgres, statement: Any) -> None:
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(statement)
