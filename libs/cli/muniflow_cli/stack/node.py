"""A private RabbitMQ node as data: its files, its processes, its `rabbitmqctl`."""

import os
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from muniflow_cli.stack.node_files import ADVANCED, NodeIdentity, configuration
from muniflow_cli.stack.plan import ProcessPlan
from muniflow_cli.stack.ports import HOST


@dataclass(frozen=True)
class Node:
    """A node in `home`; nothing is written or started by making one."""

    home: Path
    identity: NodeIdentity
    server: Path
    """RabbitMQ's start script."""
    schedulers: int
    """Threads that run Erlang code."""
    start_timeout_s: float

    @property
    def plans(self) -> tuple[ProcessPlan, ...]:
        """Its processes, in the order of their start."""
        return (*self._epmd_plans(), self._node_plan())

    @property
    def rabbitmqctl(self) -> Path:
        """`rabbitmqctl` for this node: the machine's own knows neither its name nor its ports."""
        return self.home / "rabbitmqctl"

    @property
    def ctl_command(self) -> list[str]:
        """What `rabbitmqctl` runs."""
        variables = {"LC_ALL": "C.UTF-8", "PATH": self._beside_server(), **self._variables()}
        words = [f"{name}={value}" for name, value in variables.items()]
        return ["env", "-i", *words, str(self.server.with_name("rabbitmqctl"))]

    def _epmd_plans(self) -> tuple[ProcessPlan, ...]:
        """Erlang's name service (epmd). Without this one, Erlang starts its own and never stops it."""
        program = shutil.which("epmd", path=self._beside_server())
        if program is None:
            return ()
        port = self.identity.epmd_port
        return (
            ProcessPlan(
                name="epmd",
                role="epmd",
                command=(program, "-address", HOST, "-port", str(port)),
                variables=self._environment(),
                variables_only=True,
                folder=self.home,
                port=port,
                speaks="tcp",
                own_ports=(port,),
            ),
        )

    def _node_plan(self) -> ProcessPlan:
        identity = self.identity
        return ProcessPlan(
            name="broker",
            role="broker",
            command=(str(self.server),),
            variables=self._environment(),
            variables_only=True,
            folder=self.home,
            port=identity.amqp_port,
            speaks="amqp",
            own_ports=(identity.amqp_port, identity.distribution_port, identity.metrics_port),
            needs="epmd" if self._epmd_plans() else None,
            start_timeout_s=self.start_timeout_s,
        )

    def _beside_server(self) -> str:
        """Where to look for programs: Erlang's own may be of another version than the machine's."""
        return os.pathsep.join((str(self.server.parent), os.environ.get("PATH", os.defpath)))

    def write_files(self) -> None:
        """Write its configuration and its `rabbitmqctl`; the folder is there already."""
        identity = self.identity
        cookie = self.home / ".erlang.cookie"
        if not cookie.exists() or cookie.read_text() != identity.cookie:
            cookie.unlink(missing_ok=True)
            cookie.touch(mode=0o600)
            cookie.write_text(identity.cookie)
            cookie.chmod(0o400)  # Erlang refuses a cookie that others can read
        (self.home / "rabbitmq.conf").touch(mode=0o600)
        (self.home / "rabbitmq.conf").write_text(configuration(identity))
        (self.home / "advanced.config").write_text(ADVANCED)
        (self.home / "enabled_plugins").write_text("[rabbitmq_prometheus].\n")
        # An empty one of our own keeps the machine's /etc/rabbitmq/rabbitmq-env.conf out.
        (self.home / "rabbitmq-env.conf").write_text("")
        self.rabbitmqctl.touch(mode=0o700)
        self.rabbitmqctl.write_text(f'#!/bin/sh\nexec {shlex.join(self.ctl_command)} "$@"\n')
        self.rabbitmqctl.chmod(0o700)

    def _environment(self) -> dict[str, str]:
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_", "NOTIFY_"))
        }
        return inherited | self._variables()

    def _variables(self) -> dict[str, str]:
        only_here = "-kernel inet_dist_use_interface {127,0,0,1}"
        return {
            "HOME": str(self.home),
            "ERL_EPMD_ADDRESS": HOST,
            "ERL_EPMD_PORT": str(self.identity.epmd_port),
            "RABBITMQ_NODENAME": self.identity.name,
            "RABBITMQ_DIST_PORT": str(self.identity.distribution_port),
            "RABBITMQ_CONF_ENV_FILE": str(self.home / "rabbitmq-env.conf"),
            "RABBITMQ_CONFIG_FILE": str(self.home / "rabbitmq.conf"),
            "RABBITMQ_CONFIG_FILES": str(self.home / "conf.d"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.home / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.home / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.home / "data"),
            "RABBITMQ_LOG_BASE": str(self.home / "log"),
            "RABBITMQ_PID_FILE": str(self.home / "pid"),
            # With input "allowed" the start script becomes the node instead of its parent, which would end with code 0
            # however the node ends, and leave it behind when it is killed itself. The node reads none all the same.
            "RABBITMQ_ALLOW_INPUT": "true",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                f"-noinput +S {self.schedulers}:{self.schedulers} +A 4 {only_here}"
            ),
            "RABBITMQ_CTL_ERL_ARGS": f"+S 1:1 {only_here}",
        }
