"""The broker in a container, with a client of Docker that writes down what it is asked."""

import os
import signal
import stat

import pytest

from muniflow.errors import MuniflowError
from muniflow_cli.stack.docker_broker import DockerBroker, forget_broker
from muniflow_cli.stack.supervisor import Signals, Supervisor
from muniflow_cli.stack.waiting import wait_until


@pytest.fixture
def docker(tmp_path):
    """A command that takes everything; its log."""
    log, command = tmp_path / "asked", tmp_path / "docker"
    log.touch()
    refuse = f"[ -e {tmp_path}/refuse ] && echo refused >&2 && exit 1"
    run = '[ "$1" = run ] && exec sleep 60'
    command.write_text(f'#!/bin/sh\necho "$*" >>{log}\n{refuse}\n{run}\nexit 0\n')
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    return str(command), log


def test_forgetting_removes_the_container_and_its_volume(tmp_path, docker):
    command, log = docker
    name = DockerBroker(tmp_path / "broker", docker=command).name
    assert forget_broker(tmp_path / "broker", command)
    assert log.read_text().splitlines() == ["info", f"rm --force {name}", f"volume rm --force {name}"]


def test_without_a_broker_or_an_engine_there_is_nothing_to_forget(tmp_path, docker):
    command, log = docker
    assert not forget_broker(tmp_path / "nothing", command)
    assert log.read_text() == ""
    assert not (tmp_path / "nothing").exists()
    DockerBroker(tmp_path / "broker", docker=command)
    assert not forget_broker(tmp_path / "broker", str(tmp_path / "no-docker"))


def test_a_client_that_ends_is_started_again_once_its_container_is_removed(tmp_path, docker):
    """The client stands in for the container: no engine is needed to see what it is asked."""
    command, log = docker
    broker = DockerBroker(tmp_path / "broker", docker=command)
    [plan] = broker.processes()
    said: list[str] = []
    supervisor = Supervisor({}, tmp_path, said.append)
    runs = [f"rm --force {broker.name}", f"run --rm --name {broker.name}"]

    def asked():
        return [" ".join(line.split()[:4]) if line.startswith("run") else line for line in log.read_text().splitlines()]

    with Signals().installed() as signals:
        child = supervisor.add(plan)
        assert wait_until(lambda: asked() == runs, 20)
        assert child.process is not None
        os.kill(child.process.pid, signal.SIGKILL)
        assert wait_until(lambda: supervisor.tick() and child.restarts == 1, 20)
        assert wait_until(lambda: asked() == [*runs, *runs], 20)
        supervisor.end("broker", signals)
    broker.stop()

    assert not child.running
    assert "broker was ended by SIGKILL; it starts again in 0.5 s" in said[0]
    assert asked()[-1] == f"rm --force {broker.name}", "the container outlives a client that is killed"
    assert broker.amqp_url.split(":")[2].partition("@")[0] not in log.read_text(), "the password is for nobody to see"
    assert (tmp_path / "broker/rabbitmqctl").read_text().endswith(f'exec {broker.name} rabbitmqctl "$@"\n')


def test_what_the_engine_refuses_is_told(tmp_path, docker):
    command, _ = docker
    broker = DockerBroker(tmp_path / "broker", docker=command)
    (tmp_path / "refuse").touch()
    with pytest.raises(MuniflowError, match="docker rm: refused"):
        broker.forget()
