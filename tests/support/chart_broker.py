"""A broker that has read the chart's definitions: its users, with their rights, in a virtual host of their own."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel
from tests.deploy.chart import of_kind, rendered
from tests.support.inside_broker import evaluate

from muniflow.runtime.settings import BrokerSettings
from muniflow_cli.stack.broker import PrivateBroker


@dataclass(frozen=True)
class Installation:
    """Such a broker."""

    port: int
    host: str
    vhost: str

    @contextmanager
    def connection(self, user: str) -> Iterator[pika.BlockingConnection]:
        credentials = pika.PlainCredentials(user, password_of(user))
        parameters = pika.ConnectionParameters(self.host, self.port, self.vhost, credentials)
        with pika.BlockingConnection(parameters) as connection:
            yield connection

    @contextmanager
    def channel(self, user: str) -> Iterator[BlockingChannel]:
        with self.connection(user) as connection:
            yield connection.channel()

    def settings(self, user: str) -> BrokerSettings:
        return BrokerSettings(amqp_url=f"amqp://{user}:{password_of(user)}@{self.host}:{self.port}/{self.vhost}")


def password_of(user: str) -> str:
    return f"password-of-{user}"


def definitions() -> dict[str, list[dict[str, Any]]]:
    config = next(
        item
        for item in of_kind(rendered("default"), "ConfigMap")
        if item["metadata"]["name"] == "muniflow-broker-config"
    )
    found: dict[str, list[dict[str, Any]]] = json.loads(config["data"]["definitions.json"])
    for user in found["users"]:
        assert user["password"] == f"@@{user['name']}@@"
        user["password"] = password_of(user["name"])
    return found


@contextmanager
def installed(node: PrivateBroker, folder: Path) -> Iterator[Installation]:
    """Let a node read them, and forget them at the end."""
    path = folder / "definitions.json"
    path.write_text(json.dumps(definitions()))
    # As `rabbitmqctl import_definitions` does it, which takes a second to start.
    evaluate(node, f'{{ok, Read}} = file:read_file("{path}")', "ok = rabbit_definitions:import_raw(Read)")
    yield Installation(node.identity.amqp_port, "127.0.0.1", "muniflow")
    users = ", ".join(f'<<"{user["name"]}">>' for user in definitions()["users"])
    evaluate(
        node,
        'rabbit_vhost:delete(<<"muniflow">>, <<"tests">>)',
        f'[ok = rabbit_auth_backend_internal:delete_user(User, <<"tests">>) || User <- [{users}]]',
    )
