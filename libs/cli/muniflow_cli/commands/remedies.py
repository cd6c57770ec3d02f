"""The advice of `doctor`: commands that work for the stack that it checks."""

import shlex
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from muniflow_cli.commands.client import LOCAL
from muniflow_cli.commands.target import Target

Kept = Literal["coordinator", "broker"]


@dataclass(frozen=True)
class Remedies:
    """Remedies for a stack of `muniflow up`, and for one that is run elsewhere."""

    logs: Path | None = None
    """The logs of the stack of `muniflow up`; `None` where another one is looked at."""
    rabbitmqctl: str | None = None
    """The command that administers the stack's own broker; `None` when somebody else runs the broker."""
    own_metrics: bool = False
    """Whether the metrics that are asked are those of the stack's own broker."""
    bind: str | None = None
    """What a coordinator listens on that is to answer where it is asked; `None` where no address is known."""
    named: bool = True
    """Whether variables name the stack; without them and without `logs` there is none."""

    def broker_away(self) -> str:
        """The broker does not answer."""
        if self.rabbitmqctl:
            return self._comes_back("broker")
        if self.named or self.logs:
            return "start it, or correct MUNIFLOW_AMQP_URL; a stack that `muniflow up` started keeps the one it has"
        return "`muniflow up` starts a private one; or name one that runs with MUNIFLOW_AMQP_URL"

    def metrics_away(self) -> str:
        """RabbitMQ's metrics do not answer."""
        return self._comes_back("broker") if self.own_metrics else "check MUNIFLOW_RABBITMQ_METRICS_URL"

    def coordinator_away(self) -> str:
        """The coordinator does not answer."""
        if self.logs:
            return self._comes_back("coordinator")
        if self.bind is None:
            return "start it: `python -m muniflow_coordinator`"
        return (
            f"start it where it is asked: `MUNIFLOW_HTTP_BIND={self.bind} python -m muniflow_coordinator`; "
            "or correct MUNIFLOW_COORDINATOR_URL"
        )

    def see_log(self) -> str:
        """What is wrong is in the coordinator's log."""
        return f"look at its log: {self.logs / 'coordinator.log'}" if self.logs else "look at its log"

    def no_consumer(self, operation: str | None) -> str:
        """Nobody takes from the queue of an operation, or from one of the coordinator's."""
        if operation is None:
            return self.coordinator_away()
        if self.logs is None:
            return f"start a worker: `python -m muniflow_{operation}`"
        return (
            "a worker that ended starts again by itself; where none was asked for: `muniflow down`, "
            f"then `muniflow up --workers {operation}=1`"
        )

    def permissions(self, user: str, virtual_host: str) -> str:
        """The user has not the rights that muniflow needs."""
        arguments = [user, "^muniflow", "^muniflow", "^muniflow"]
        return f"give the user its rights: {self._ctl('set_permissions', '-p', virtual_host, *arguments)}"

    def not_declared(self) -> str:
        """A queue is missing: the coordinator declares it when it connects, and every few seconds."""
        again = self._ctl("close_all_connections", "declare again")
        return f"the coordinator declares it: start it, or, if it runs, {again}"

    def declared_otherwise(self) -> str:
        """A queue has other arguments than ours."""
        return "stop what takes from it, if anything does; then, with all that is in it: `muniflow doctor --fix`"

    def alarms(self) -> dict[str, str]:
        """What ends an alarm, by the metric that says that it is raised."""
        memory = self._ctl("set_vm_memory_high_watermark", "0.6")
        disk = self._ctl("set_disk_free_limit", "50MB")
        return {
            "rabbitmq_alarms_memory_used_watermark": f"give the broker more memory, or raise its limit: {memory}",
            "rabbitmq_alarms_free_disk_space_watermark": f"free space on the broker's volume, or: {disk}",
            "rabbitmq_alarms_file_descriptor_limit": "start the broker with a higher limit of open files: ulimit -n",
        }

    def _ctl(self, *arguments: str) -> str:
        return f"`{shlex.join([self.rabbitmqctl or 'rabbitmqctl', *arguments])}`"

    def _comes_back(self, name: Kept) -> str:
        log = f"{self.logs / name}.log" if self.logs else "its log"
        return (
            f"`muniflow up` starts it again by itself, within seconds: see {log}. "
            "If it stays away: `muniflow down`, then `muniflow up`"
        )


def remedies_of(target: Target) -> Remedies:
    """What can be done about the stack that a command talks to."""
    stack = target.stack
    bind = _bind_of(target.coordinator_url)
    if stack is None:
        return Remedies(bind=bind, named=target.found == "variables")
    own_broker = stack.amqp_url == target.broker.amqp_url
    return Remedies(
        logs=target.state_dir / "logs" if stack.coordinator_url == target.coordinator_url else None,
        rabbitmqctl=stack.rabbitmqctl if own_broker else None,
        bind=bind,
        own_metrics=bool(stack.rabbitmqctl) and stack.rabbitmq_metrics_url == target.rabbitmq_metrics_url,
        named=target.found == "variables",
    )


def _bind_of(url: str | None) -> str | None:
    try:
        parts = urllib.parse.urlsplit(url or "")
        host, port = parts.hostname, parts.port or 80
    except ValueError:  # it is no address, which is a finding of its own
        return None
    if host is None:
        return None
    return f"127.0.0.1:{port}" if host in LOCAL else f"0.0.0.0:{port}"
