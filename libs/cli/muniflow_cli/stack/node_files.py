"""What makes a private RabbitMQ node: its identity and its configuration."""

import json
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path

from muniflow.model.topology import CONSUMER_TIMEOUT_MS
from muniflow_cli.stack.ports import HOST, free_ports

ADVANCED = "[{rabbit, [{quorum_tick_interval, 1000}]}].\n"
"""The numbers of a queue are as old as this, in ms; 5000, the default, is long for who looks on."""


@dataclass(frozen=True)
class Identity:
    """What makes a node itself; kept in `node.json`, so that the same folder is the same node again."""

    amqp_port: int
    distribution_port: int
    epmd_port: int
    metrics_port: int
    name: str
    password: str = field(repr=False)
    cookie: str = field(repr=False)


def configuration(identity: Identity) -> str:
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


def load_identity(file: Path) -> Identity:
    """Read the identity of a node, or make one with free ports."""
    if file.exists():
        return Identity(**json.loads(file.read_text()))
    ports = free_ports(4)
    identity = Identity(
        amqp_port=ports[0],
        distribution_port=ports[1],
        epmd_port=ports[2],
        metrics_port=ports[3],
        name=f"muniflow-{secrets.token_hex(4)}@localhost",
        password=secrets.token_hex(16),
        cookie=secrets.token_hex(16).upper(),
    )
    file.touch(mode=0o600)
    file.write_text(json.dumps(asdict(identity)))
    return identity
