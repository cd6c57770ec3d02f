"""The broker in a container, with a client of Docker that writes down what it is asked."""

import stat

import pytest

from muniflow.errors import MuniflowError
from muniflow.stack.docker_broker import DockerBroker, forget_broker


@pytest.fixture
def docker(tmp_path):
    """A command that takes everything; its log."""
    log, command = tmp_path / "asked", tmp_path / "docker"
    log.touch()
    refuse = f"[ -e {tmp_path}/refuse ] && echo refused >&2 && exit 1"
    command.write_text(f'#!/bin/sh\necho "$*" >>{log}\n{refuse}\nexit 0\n')
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


def test_what_the_engine_refuses_is_told(tmp_path, docker):
    command, _ = docker
    broker = DockerBroker(tmp_path / "broker", docker=command)
    (tmp_path / "refuse").touch()
    with pytest.raises(MuniflowError, match="docker rm: refused"):
        broker.forget()
