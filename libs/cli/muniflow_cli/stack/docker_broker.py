"""RabbitMQ in a container: for machines with a Docker engine and without RabbitMQ's package."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Protocol

from muniflow.errors import MuniflowError
from muniflow_cli.stack.broker import START_TIMEOUT_S, PrivateBroker, find_server
from muniflow_cli.stack.node_files import load_identity
from muniflow_cli.stack.plan import ProcessPlan
from muniflow_cli.stack.ports import HOST

IMAGE = "rabbitmq:4.1"
"""The official image; it serves AMQP at 5672 and its metrics at 15692."""
ENGINE_TIMEOUT_S = 10.0
PULL_TIMEOUT_S = 600.0
"""The first start may have to fetch the image."""
RUN_ANEW = '"$1" rm --force "$2" >/dev/null 2>&1; shift 2; exec "$@"'
"""For `sh`: one container of this name at a time, also when only the client of the last one was killed."""


class LocalBroker(Protocol):
    """A broker that the local stack starts and ends."""

    @property
    def amqp_url(self) -> str:
        """The URL for clients, with its password."""
        ...

    @property
    def metrics_url(self) -> str:
        """The base URL of RabbitMQ's own metrics."""
        ...

    @property
    def rabbitmqctl(self) -> str:
        """The command that administers it."""
        ...

    def processes(self) -> tuple[ProcessPlan, ...]:
        """Write its files; returns what is to run, in the order of their start."""
        ...

    def stop(self) -> None:
        """End what is left of it after its processes; its messages stay."""
        ...


def local_broker(home: Path) -> LocalBroker:
    """A broker with its data in `home`: a private node, or a container where only Docker is at hand.

    Raises:
        MuniflowError: there is neither; the text says what to install.
    """
    if find_server() is None and engine_answers():
        return DockerBroker(home)
    return PrivateBroker(home)


def engine_answers(docker: str = "docker") -> bool:
    """Whether a Docker engine is there and answers."""
    if shutil.which(docker) is None:
        return False
    try:
        found = subprocess.run([docker, "info"], capture_output=True, timeout=ENGINE_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return False
    return found.returncode == 0


class DockerBroker:
    """A container of its own, with its messages in a volume of its own; both are named after `home`'s identity."""

    def __init__(self, home: Path, image: str = IMAGE, docker: str = "docker") -> None:
        """Describe it; nothing is started yet. `docker` is the client's command."""
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._home = home.resolve()
        self._identity = load_identity(home / "node.json")
        self._image = image
        self._docker = docker

    @property
    def name(self) -> str:
        """Of the container and of its volume."""
        return self._identity.name.partition("@")[0]

    @property
    def amqp_url(self) -> str:
        """The URL for clients, with its password."""
        return self._identity.amqp_url

    @property
    def metrics_url(self) -> str:
        """The base URL of RabbitMQ's own metrics."""
        return self._identity.metrics_url

    @property
    def rabbitmqctl(self) -> str:
        """The command that administers it."""
        return str(self._home / "rabbitmqctl")

    def processes(self) -> tuple[ProcessPlan, ...]:
        """Write its `rabbitmqctl`; returns the client of the engine, which lives as long as the container.

        The client passes SIGTERM on to the container, and ends when the container does.
        """
        script = Path(self.rabbitmqctl)
        script.write_text(f'#!/bin/sh\nexec {shlex.join([self._docker, "exec", self.name, "rabbitmqctl"])} "$@"\n')
        script.chmod(0o700)
        run = (self._docker, "run", "--rm", "--name", self.name, "--hostname", self.name, *self._options(), self._image)
        return (
            ProcessPlan(
                name="broker",
                role="broker",
                command=("sh", "-c", RUN_ANEW, "sh", self._docker, self.name, *run),
                variables={**os.environ, "RABBITMQ_DEFAULT_PASS": self._identity.password},
                variables_only=True,
                port=self._identity.amqp_port,
                speaks="amqp",
                start_timeout_s=PULL_TIMEOUT_S + START_TIMEOUT_S,
            ),
        )

    def stop(self) -> None:
        """Remove the container, which outlives a client that was killed; the volume keeps its messages."""
        self._remove()

    def forget(self) -> None:
        """Remove the container and the volume with all messages; neither need be there.

        Raises:
            MuniflowError: the engine refused.
        """
        self._remove()
        self._run("volume", "rm", "--force", self.name)

    def _options(self) -> list[str]:
        identity = self._identity
        return [
            "--volume", f"{self.name}:/var/lib/rabbitmq",
            "--publish", f"{HOST}:{identity.amqp_port}:5672",
            "--publish", f"{HOST}:{identity.metrics_port}:15692",
            "--env", "RABBITMQ_DEFAULT_USER=muniflow",
            "--env", "RABBITMQ_DEFAULT_PASS",  # from the client's environment: everybody sees its command line
        ]  # fmt: skip

    def _remove(self) -> None:
        try:
            self._run("rm", "--force", self.name)
        except MuniflowError as error:
            if "No such container" not in str(error):
                raise

    def _run(self, *arguments: str) -> str:
        try:
            done = subprocess.run(
                [self._docker, *arguments], capture_output=True, text=True, timeout=PULL_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise MuniflowError(f"docker {arguments[0]} did not end within {PULL_TIMEOUT_S:.0f} s") from None
        if done.returncode != 0:
            raise MuniflowError(f"docker {arguments[0]}: {done.stderr.strip()}")
        return done.stdout


def forget_broker(home: Path, docker: str = "docker") -> bool:
    """Remove what a stack with this folder keeps in an engine; returns whether there was anything to ask one for."""
    if not (home / "node.json").exists() or not engine_answers(docker):
        return False
    DockerBroker(home, docker=docker).forget()
    return True
