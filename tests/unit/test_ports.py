import socket

import pytest

from muniflow.errors import MuniflowError
from muniflow_cli.stack import ports
from muniflow_cli.stack.ports import HOST, free_ports


def test_ports_are_different_and_free():
    found = free_ports(20)
    assert len(set(found)) == 20
    for port in found:
        socket.create_server((HOST, port)).close()


def test_a_port_that_comes_back_is_none_that_an_outgoing_connection_may_get():
    """Found by a broker that was killed in a storm (seed 1): a client that called it had its port when it came back."""
    first, last = map(int, ports.OUTGOING.read_text().split())
    assert not [port for port in free_ports(50) if first <= port <= last]


def test_outgoing_connections_may_have_all_ports(monkeypatch, tmp_path):
    everything = tmp_path / "range"
    everything.write_text(f"{ports.FIRST_PORT} {ports.LAST_PORT}\n")
    monkeypatch.setattr(ports, "OUTGOING", everything)
    assert len(free_ports(3)) == 3


def test_too_many_ports_are_an_error():
    with pytest.raises(MuniflowError, match="no 5000 free ports"):
        free_ports(5000)
