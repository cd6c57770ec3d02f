"""What `doctor` advises for a stack of somebody else: a real broker, coordinator and worker, which variables name."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import BrokerOfTests
from tests.support.coordinators import CoordinatorProcess
from tests.support.declared import declared
from tests.support.inside_broker import TOO_LITTLE_MEMORY, set_memory_limit
from tests.support.waiting import eventually

from muniflow.model.operation import installed_operations
from muniflow.model.topology import LOST, step_queue, topology
from muniflow.runtime.settings import BrokerSettings
from muniflow_cli.commands.doctor import diagnose
from muniflow_cli.commands.findings import Finding
from muniflow_cli.commands.target import find_target
from muniflow_cli.stack.broker import PrivateBroker
from muniflow_cli.stack.ports import free_ports

pytestmark = pytest.mark.timeout(120)

Env = dict[str, str]


@pytest.fixture
def env(broker: BrokerSettings, tmp_path: Path) -> Env:
    """A broker with the queues, and a coordinator that is away."""
    declared(broker, topology(installed_operations()))
    (tmp_path / "source").mkdir()
    [port] = free_ports(1)
    return {
        "MUNIFLOW_AMQP_URL": broker.amqp_url,
        "MUNIFLOW_COORDINATOR_URL": f"http://127.0.0.1:{port}",
        "MUNIFLOW_DATABASE_URL": f"sqlite:///{tmp_path}/ledger.db",
        "MUNIFLOW_STATE_DIR": str(tmp_path / "state"),
        **{f"MUNIFLOW_{name.upper()}_URL": f"file://{tmp_path}/{name}" for name in ("source", "work", "output")},
    }


@pytest.fixture
def shell(env: Env, tmp_path: Path, broker_of_tests: BrokerOfTests) -> Iterator["Shell"]:
    """Where advice is typed in; RabbitMQ's programs are there, for the node of the tests."""
    programs = tmp_path / "programs"
    programs.mkdir()
    if broker_of_tests.node is not None:
        *variables, server_ctl = broker_of_tests.node.node.ctl_command
        for name in ("rabbitmqctl", "rabbitmq-plugins"):
            line = shlex.join([*variables, str(Path(server_ctl).with_name(name))])
            (programs / name).write_text(f'#!/bin/sh\nexec {line} "$@"\n')
            (programs / name).chmod(0o700)
    made = Shell(env, tmp_path, [programs, Path(sys.executable).parent])
    yield made
    made.end()


class Shell:
    """A shell with the variables of the stack, in which services may go on."""

    def __init__(self, env: Env, folder: Path, programs: list[Path]) -> None:
        self._env = {**os.environ, **env, "PATH": os.pathsep.join([*map(str, programs), os.environ["PATH"]])}
        self._folder = folder
        self._started: list[subprocess.Popen[bytes]] = []

    def run(self, line: str) -> None:
        done = subprocess.run(
            ["sh", "-c", line], env=self._env, cwd=self._folder, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"

    def start(self, line: str) -> None:
        with (self._folder / "shell.log").open("ab") as log:
            self._started.append(
                subprocess.Popen(
                    ["sh", "-c", line], env=self._env, cwd=self._folder, stdout=log, stderr=log, start_new_session=True
                )
            )

    def end(self) -> None:
        for process in self._started:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def found(env: Env, check: str) -> Finding | None:
    """What is wrong with one thing."""
    return next((each for each in diagnose(find_target(env)) if each.check == check and each.level != "ok"), None)


def advice(env: Env, check: str) -> str:
    """The advice about a fault, once `doctor` sees it."""
    finding = eventually(lambda: found(env, check), what=check, every_s=0.2)
    assert finding is not None
    return finding.to_do


def content(env: Env, check: str) -> bool:
    """Wait until `doctor` has nothing to say about it."""
    return eventually(lambda: found(env, check) is None, what=lambda: str(found(env, check)), every_s=0.2)


def commands_in(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def test_a_coordinator_that_is_away(env: Env, shell: Shell) -> None:
    """Its queues, that of lost messages among them, and its ledger wait for it, too."""
    [command] = commands_in(advice(env, "coordinator"))
    assert commands_in(advice(env, f"queue {LOST}")) == [command]
    assert advice(env, "ledger") == "the coordinator makes it when it starts"

    shell.start(command)

    assert content(env, "coordinator")
    assert content(env, f"queue {LOST}")
    assert content(env, "ledger")


def test_a_coordinator_whose_address_is_wrong(env: Env, tmp_path: Path) -> None:
    assert "or correct MUNIFLOW_COORDINATOR_URL" in advice(env, "coordinator")
    coordinator = CoordinatorProcess(tmp_path, env).start()
    try:
        assert content({**env, "MUNIFLOW_COORDINATOR_URL": f"http://127.0.0.1:{coordinator.port}"}, "coordinator")
    finally:
        coordinator.kill()


def test_a_coordinator_whose_address_is_not_known(env: Env, shell: Shell) -> None:
    del env["MUNIFLOW_COORDINATOR_URL"]
    [command] = commands_in(advice(env, f"queue {LOST}"))

    shell.start(command)

    assert content(env, f"queue {LOST}")


def test_an_operation_without_a_worker(env: Env, shell: Shell) -> None:
    [command] = commands_in(advice(env, f"queue {step_queue('blur')}"))

    shell.start(command)

    assert content(env, f"queue {step_queue('blur')}")


def test_an_alarm(env: Env, shell: Shell, private_broker: PrivateBroker) -> None:
    """All that points to the alarm goes with it."""
    env["MUNIFLOW_RABBITMQ_METRICS_URL"] = private_broker.metrics_url
    set_memory_limit(private_broker, TOO_LITTLE_MEMORY)
    try:
        assert advice(env, "permissions") == "see the alarm"
        [command] = commands_in(advice(env, "alarm"))
    except BaseException:
        set_memory_limit(private_broker, "0.6")
        raise

    shell.run(command)

    assert content(env, "alarm")
    assert content(env, "permissions")


def test_a_broker_that_is_away(
    env: Env, shell: Shell, tmp_path: Path, broker: BrokerSettings, private_broker: PrivateBroker
) -> None:
    """Started again, it is found, and so does the coordinator; its log says what it missed."""
    old_enough_s = time.monotonic() + 2 * broker.new_queue_wait_s
    shell.start(commands_in(advice(env, "coordinator"))[0])
    assert content(env, "coordinator")
    eventually(lambda: time.monotonic() > old_enough_s, what="queues that a killed node does not forget")
    private_broker.kill()
    assert advice(env, "broker").startswith("start it, or correct MUNIFLOW_AMQP_URL")
    assert advice(env, "coordinator") == "look at its log"
    assert "broker" in (tmp_path / "shell.log").read_text()

    private_broker.start()

    assert content(env, "broker")
    assert content(env, "coordinator")


def test_a_broker_whose_address_is_wrong(env: Env) -> None:
    [port] = free_ports(1)
    assert "correct MUNIFLOW_AMQP_URL" in advice({**env, "MUNIFLOW_AMQP_URL": f"amqp://127.0.0.1:{port}"}, "broker")

    assert content(env, "broker")


def test_metrics_that_are_not_known(env: Env, shell: Shell, private_broker: PrivateBroker) -> None:
    """The plugin is on already: RabbitMQ takes 20 s to switch it off and on."""
    to_do = advice(env, "alarm")

    for command in commands_in(to_do):
        shell.run(command)

    assert "set MUNIFLOW_RABBITMQ_METRICS_URL" in to_do
    assert content({**env, "MUNIFLOW_RABBITMQ_METRICS_URL": private_broker.metrics_url}, "alarm")


@pytest.mark.usefixtures("private_broker")
def test_the_upgrade_of_an_old_broker(env: Env, shell: Shell) -> None:
    """The command that comes before it; the packages themselves cannot be changed in a test."""
    [broker] = [each for each in diagnose(find_target(env)) if each.check == "broker"]
    for command in commands_in(broker.to_do):
        shell.run(command)

    assert broker.level == "ok"
