"""The private RabbitMQ node: it is ours alone, keeps its data, and leaves nothing behind."""

import os
import socket
import time
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest
from tests.contract.transport_harness import DURABLE_AFTER_S
from tests.support.waiting import eventually

from muniflow.errors import MuniflowError
from muniflow.model.topology import Queue, Topology
from muniflow.runtime.settings import BrokerSettings
from muniflow.transport import OutgoingMessage
from muniflow.transport.admin import publish_once, queue_depths, queue_metrics
from muniflow_cli.stack import broker as module
from muniflow_cli.stack.broker import PrivateBroker, find_server

TOPOLOGY = Topology((), (Queue("kept", {"x-queue-type": "quorum"}, (("amq.direct", "kept"),)),))

needs_server = pytest.mark.skipif(find_server() is None, reason="rabbitmq-server is not installed")


def processes_of(home: Path) -> list[psutil.Process]:
    """Processes whose home is the node's."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("HOME") == str(home):
                found.append(process)
        except psutil.Error:
            continue
    return found


@needs_server
def test_a_node_from_start_to_end(tmp_path):
    home = tmp_path / "node"
    node = PrivateBroker(home)
    with node:
        settings = BrokerSettings(amqp_url=node.amqp_url)
        publish_once(settings, OutgoingMessage("kept", b"x", exchange="amq.direct"), TOPOLOGY)
        listening = [
            connection.laddr.ip
            for process in processes_of(home)
            for connection in process.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        ]
        assert len(listening) >= 4, "AMQP, metrics, distribution, epmd"
        assert set(listening) <= {"127.0.0.1", "::1"}
        time.sleep(DURABLE_AFTER_S)
        eventually(lambda: "kept" in queue_metrics(node.metrics_url))
        node.kill()
        eventually(lambda: processes_of(home) == [])  # their end takes the kernel a moment
        again = PrivateBroker(home)
        again.start()
        try:
            assert again.amqp_url == node.amqp_url
            eventually(lambda: queue_depths(settings, ["kept"])["kept"].ready == 1)  # once it has a leader
            assert (home / "node.json").stat().st_mode & 0o077 == 0, "it holds the password"
        finally:
            again.stop()
    eventually(lambda: processes_of(home) == [])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", node.identity.amqp_port), timeout=1)


@needs_server
def test_a_node_that_cannot_start_says_why_and_leaves_nothing(tmp_path):
    node = PrivateBroker(tmp_path)
    with socket.create_server(("127.0.0.1", node.identity.amqp_port)) as taken:
        taken.settimeout(0)
        with pytest.raises(MuniflowError, match=str(node.identity.amqp_port)):
            node.start()
    assert processes_of(tmp_path) == []


def test_without_rabbitmq_it_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "find_server", lambda: None)
    with pytest.raises(MuniflowError, match="apt-get install rabbitmq-server"):
        PrivateBroker(tmp_path)


def test_debians_wrapper_is_not_taken(monkeypatch, tmp_path):
    monkeypatch.delenv(module.SERVER_VARIABLE, raising=False)
    monkeypatch.setattr(module, "SERVER_FOLDERS", ())
    wrapper = tmp_path / "lib" / "rabbitmq-script-wrapper"
    real = tmp_path / "opt" / "rabbitmq-server"
    for script in (wrapper, real):
        script.parent.mkdir()
        script.write_text("#!/bin/sh\n")
        script.chmod(0o755)
    (tmp_path / "lib" / "rabbitmq-server").symlink_to(wrapper)
    folders = [str(tmp_path / "lib"), str(tmp_path / "opt")]
    assert find_server(folders[0]) is None
    assert find_server(os.pathsep.join(folders)) == real


def test_another_server_can_be_named(monkeypatch, tmp_path):
    named = tmp_path / "rabbitmq-server"
    monkeypatch.setenv(module.SERVER_VARIABLE, str(named))
    with pytest.raises(MuniflowError, match=f"{named}, which is not a program"):
        find_server()
    named.touch(0o755)
    assert find_server() == named
