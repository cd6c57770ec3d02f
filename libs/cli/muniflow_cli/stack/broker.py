"""A private RabbitMQ node: the current user's own, on free ports of 127.0.0.1, with its data in one folder.

It touches nothing of a RabbitMQ that the machine already runs: it has its own ports, cookie, node name, epmd and logs.
"""

import contextlib
import os
import subprocess
from pathlib import Path

from muniflow.errors import MuniflowError
from muniflow.runtime.startable import Startable
from muniflow_cli.stack.durable import sync_below
from muniflow_cli.stack.launch import answers, launch
from muniflow_cli.stack.node import Node
from muniflow_cli.stack.node_files import NodeIdentity, load_identity
from muniflow_cli.stack.plan import ProcessPlan
from muniflow_cli.stack.ports import taken_ports
from muniflow_cli.stack.processes import kill_session
from muniflow_cli.stack.waiting import wait_until

SERVER_FOLDERS = (
    "/usr/lib/rabbitmq/bin",
    "/opt/rabbitmq/sbin",
    "/usr/local/sbin",
    "/opt/homebrew/sbin",
    "/usr/local/opt/rabbitmq/sbin",
)
"""Where packages put the real start script, in the order tried; then every folder of PATH."""
SERVER_VARIABLE = "MUNIFLOW_RABBITMQ_SERVER"
"""Names the start script of another RabbitMQ than the installed one; `rabbitmqctl` and `epmd` are taken beside it."""
START_TIMEOUT_S = 240.0
"""Until AMQP answers: 4 s, and minutes on a machine with much else to do. A node that dies is seen at once."""
LOG_TAIL_CHARACTERS = 2000


def find_server(path: str | None = None) -> Path | None:
    """The start script of an installed RabbitMQ, or `None`.

    The variable `MUNIFLOW_RABBITMQ_SERVER` comes before all. Debian's `/usr/sbin/rabbitmq-server` is a wrapper that
    changes to the user `rabbitmq`; the script that it calls is taken instead.

    Args:
        path: folders to search after the usual ones, as in `PATH`; the process's own where it is left out.

    Raises:
        MuniflowError: the variable names something that cannot be run.
    """
    if named := os.environ.get(SERVER_VARIABLE):
        if not os.access(named, os.X_OK):
            raise MuniflowError(f"{SERVER_VARIABLE} is {named}, which is not a program that can be run")
        return Path(named)
    folders = [*SERVER_FOLDERS, *(os.environ.get("PATH", "") if path is None else path).split(os.pathsep)]
    for folder in folders:
        script = (Path(folder) / "rabbitmq-server").resolve()
        if script.name == "rabbitmq-server" and os.access(script, os.X_OK):
            return script
    return None


class PrivateBroker(Startable):
    """A RabbitMQ node of our own: `with PrivateBroker(home) as broker: connect(broker.amqp_url)`.

    That is for one process that needs a broker; the stack's `Supervisor` runs what `processes` gives. The node keeps
    its queues in `home`: stopped and started again, it has the same ports, the same password and the same messages.
    """

    def __init__(
        self,
        home: Path,
        *,
        schedulers: int = 2,
        start_timeout_s: float = START_TIMEOUT_S,
        stop_timeout_s: float = 20.0,
    ) -> None:
        """Describe the node; nothing is started or written yet.

        Args:
            home: folder of its data, logs and configuration; made if it is missing.
            schedulers: threads that run Erlang code; two start in 4 s, one in 6 s, and idle ones cost nothing.
            start_timeout_s: time until AMQP must answer.
            stop_timeout_s: time for a graceful stop; then the node is killed.

        Raises:
            MuniflowError: no RabbitMQ is installed; the text says how to install one.
        """
        server = find_server()
        if server is None:
            raise MuniflowError(
                "RabbitMQ is not installed: run `apt-get install rabbitmq-server` (`make demo` does it), "
                "or give the URL of a running one as MUNIFLOW_AMQP_URL"
            )
        self.home = home.resolve()
        self._server = server
        self._schedulers = schedulers
        self._start_timeout_s = start_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._identity: NodeIdentity | None = None
        self._epmd: subprocess.Popen[bytes] | None = None
        self._node: subprocess.Popen[bytes] | None = None

    @property
    def identity(self) -> NodeIdentity:
        """Ports, name and secrets of the node; made at the first look, with free ports."""
        if self._identity is None:
            self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._identity = load_identity(self.home / "node.json")
        return self._identity

    @property
    def amqp_url(self) -> str:
        """The URL for clients, with its password."""
        return self.identity.amqp_url

    @property
    def metrics_url(self) -> str:
        """The base URL of RabbitMQ's own metrics."""
        return self.identity.metrics_url

    @property
    def running(self) -> bool:
        """Whether the node's process lives."""
        return self._node is not None and self._node.poll() is None

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes that `start` made, each the leader of its own group; the node's comes first."""
        return tuple(process.pid for process in (self._node, self._epmd) if process is not None)

    @property
    def node(self) -> Node:
        """What it is made of."""
        return Node(self.home, self.identity, self._server, self._schedulers, self._start_timeout_s)

    @property
    def rabbitmqctl(self) -> str:
        """The command that administers this node."""
        return str(self.node.rabbitmqctl)

    def processes(self) -> tuple[ProcessPlan, ...]:
        """Write its files; returns what is to run, in the order of their start.

        Raises:
            MuniflowError: one of its ports is taken.
        """
        node = self.node
        node.write_files()
        plans = node.plans
        for port in taken_ports(port for plan in plans for port in plan.own_ports):
            # RabbitMQ itself takes 20 s to say so.
            raise MuniflowError(
                f"port {port} of the private RabbitMQ in {self.home} is taken by another program: "
                f"stop that program, or remove the folder to begin anew"
            )
        return plans

    def start(self) -> None:
        """Start the node and wait until AMQP answers.

        Raises:
            MuniflowError: it ended or did not answer in time; the text has the end of its log.
        """
        if self.running:
            return
        *epmd, node = self.processes()
        console = self.home / "console.log"
        for plan in epmd:
            self._epmd = launch(plan, {}, console)
        self._node = launch(node, {}, console)
        try:
            self._wait_until_ready(node)
            sync_below(self.home)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Stop the node gracefully, or by force when it takes too long. Nothing of it is left running.

        RabbitMQ's metrics agent alone takes 5 s to stop; where the data is not needed again, `kill` is at once.
        """
        if self._node is not None and self._node.poll() is None:
            self._node.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._node.wait(self._stop_timeout_s)
        self.kill()

    def kill(self) -> None:
        """End the node at once (SIGKILL), as a crash would; its data stays, its ports are free again."""
        for process in (self._node, self._epmd):
            if process is not None:
                kill_session(process.pid)
                process.wait()
        self._node = self._epmd = None

    def restart(self) -> None:
        """Stop and start again, with the same ports and data."""
        self.stop()
        self.start()

    def ctl(self, *arguments: str, timeout_s: float = 60.0) -> str:
        """Run `rabbitmqctl` on this node and return what it printed.

        Raises:
            MuniflowError: the command failed; the text is what it said.
        """
        done = subprocess.run(
            [*self.node.ctl_command, "--quiet", *arguments], cwd=self.home, capture_output=True, text=True,
            timeout=timeout_s, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise MuniflowError(f"rabbitmqctl {' '.join(arguments)}: {(done.stderr or done.stdout).strip()}")
        return done.stdout

    def _wait_until_ready(self, node: ProcessPlan) -> None:
        in_time = wait_until(lambda: answers(node) or not self.running, self._start_timeout_s)
        if not self.running:
            raise MuniflowError(f"RabbitMQ ended while it started. {self._log_tail()}")
        if not in_time:
            raise MuniflowError(
                f"RabbitMQ did not answer on port {node.port} within {self._start_timeout_s:.0f} s. {self._log_tail()}"
            )

    def _log_tail(self) -> str:
        log = self.home / "console.log"
        text = log.read_text(errors="replace")[-LOG_TAIL_CHARACTERS:] if log.exists() else ""
        return f"The end of {log}:\n{text}"
