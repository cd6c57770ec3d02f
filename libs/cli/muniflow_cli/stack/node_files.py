"""What makes a private RabbitMQ node: its identity and its configuration."""

import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path

from muniflow.model.topology import CONSUMER_TIMEOUT_MS
from muniflow_cli.stack.ports import HOST, free_ports

ADVANCED = "[{rabbit, [{quorum_tick_interval, 1000}]}].\n"
"""Age of a queue's numbers, in ms. RabbitMQ's default, 5000, is too long for a person who watches."""


@dataclass(frozen=True)
class NodeIdentity:
    """The identity of a node; kept in `node.json`, so that the same folder is always the same node."""

    amqp_port: int
    distribution_port: int
    epmd_port: int
    metrics_port: int
    name: str
    password: str = field(repr=False)
    cookie: str = field(repr=False)

    @property
    def amqp_url(self) -> str:
        """The URL for clients, with its password."""
        return f"amqp://muniflow:{self.password}@{HOST}:{self.amqp_port}/%2F"

    @property
    def metrics_url(self) -> str:
        """The base URL of RabbitMQ's own metrics."""
        return f"http://{HOST}:{self.metrics_port}"


def configuration(identity: NodeIdentity) -> str:
    """The text of `rabbitmq.conf`."""
    settings = {
        "listeners.tcp.1": f"{HOST}:{identity.amqp_port}",
        "prometheus.tcp.ip": HOST,
        "prometheus.tcp.port": identity.metrics_port,
        "default_user": "muniflow",
        "default_pass": identity.password,
        "loopback_users.muniflow": "true",
        "disk_free_limit.absolute": "50MB",
        "consumer_timeout": CONSUMER_TIMEOUT_MS,  # from 3.12 on each of our queues has it by itself
        # The write-ahead log is kept in memory, too: 512 MB of it is too much for a private node.
        "raft.wal_max_size_bytes": 64 * 2**20,
        "log.console": "true",
        "log.console.level": "warning",
        "log.file": "false",
    }
    return "".join(f"{key} = {value}\n" for key, value in settings.items())


def load_identity(file: Path) -> NodeIdentity:
    """Read the identity of a node, or make one with free ports.

    It is synced before it is used: data of another node's name would be of no use. An empty file is one that a power
    failure left before that.
    """
    if file.exists() and (text := file.read_text()):
        return NodeIdentity(**json.loads(text))
    ports = free_ports(4)
    identity = NodeIdentity(
        amqp_port=ports[0],
        distribution_port=ports[1],
        epmd_port=ports[2],
        metrics_port=ports[3],
        name=f"muniflow-{secrets.token_hex(4)}@localhost",
        password=secrets.token_hex(16),
        cookie=secrets.token_hex(16).upper(),
    )
    file.touch(mode=0o600)
    with file.open("w") as stream:
        stream.write(json.dumps(asdict(identity)))
        stream.flush()
        os.fsync(stream.fileno())
    return identity
