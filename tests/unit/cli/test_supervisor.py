"""Real processes: a little HTTP server that says it is ready, or one that ends at once."""

import os
import signal
import socket
import sys

import pytest
from tests.support.waiting import eventually

from muniflow_cli.stack.plan import ProcessPlan
from muniflow_cli.stack.ports import free_ports
from muniflow_cli.stack.processes import ProcessIdentity, identify, is_running, send_signal
from muniflow_cli.stack.supervisor import Signals, Supervisor

SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/readyz" else 404)
        self.end_headers()
    def log_message(self, *args): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"


@pytest.fixture
def signals():
    with Signals().installed() as installed:
        yield installed


@pytest.fixture
def said():
    return []


@pytest.fixture
def supervisor(tmp_path, signals, said):
    supervisor = Supervisor(dict(os.environ), tmp_path, said.append)
    yield supervisor
    supervisor.end("worker", signals, drain_s=0)


def plan(code, *arguments, name="resize-1", **fields):
    return ProcessPlan(name, "worker", (sys.executable, "-c", code, *map(str, arguments)), **fields)


def until(supervisor, signals, condition):
    def ticked():
        signals.wait(0.05)
        supervisor.tick()
        return condition()

    eventually(ticked, every_s=0)


def test_a_process_that_is_killed_starts_again_and_it_says_so(supervisor, signals, said):
    [port] = free_ports(1)
    child = supervisor.add(plan(SERVER, port, port=port))
    until(supervisor, signals, lambda: supervisor.ready)
    first = supervisor.states()[0].identity

    os.kill(first.pid, signal.SIGKILL)
    until(supervisor, signals, lambda: child.running and supervisor.ready and supervisor.states()[0].identity != first)

    assert any("resize-1 was ended by SIGKILL; it starts again in 0.5 s" in line for line in said)


def test_restarts_are_counted_and_said(supervisor, signals, said):
    [port] = free_ports(1)
    child = supervisor.add(plan(SERVER, port, port=port))
    until(supervisor, signals, lambda: supervisor.ready)

    for number in (1, 2):
        os.kill(child.process.pid, signal.SIGKILL)
        until(supervisor, signals, lambda number=number: child.restarts == number and supervisor.ready)
        assert supervisor.states()[0].restarts == number
        assert said[-1].endswith(f"restarts: {number}")


def test_while_its_port_is_taken_a_process_waits_and_it_says_so(supervisor, signals, said):
    [port] = free_ports(1)
    with socket.create_server(("127.0.0.1", port)):
        child = supervisor.add(plan(SERVER, port, port=port, own_ports=(port,)))
        until(supervisor, signals, lambda: len(said) == 2)
        assert child.starts == 0
    until(supervisor, signals, lambda: supervisor.ready)

    assert said == [
        f"resize-1 cannot start: port {port} is taken by another program; stop that program. It starts again in {s} s"
        for s in ("0.5", "1")
    ]


def test_a_process_waits_for_the_one_that_it_needs(supervisor, signals):
    first, second = free_ports(2)
    needing = supervisor.add(plan(SERVER, second, port=second, needs="first"))
    needed = supervisor.add(plan(SERVER, first, port=first, name="first"))
    until(supervisor, signals, lambda: needed.running)
    assert not needing.running

    until(supervisor, signals, lambda: supervisor.ready)

    assert needing.started_at_s > needed.started_at_s


def test_what_a_process_leaves_behind_is_ended_before_its_successor_starts(supervisor, signals, tmp_path):
    helper = (
        "import os, signal\nif not (pid := os.fork()):\n os.setpgid(0, 0)\n signal.pause()\nprint(pid, flush=True)\n"
    )
    child = supervisor.add(plan(helper + "signal.pause()"))
    helpers = tmp_path / "resize-1.log"
    until(supervisor, signals, lambda: helpers.read_text().count("\n") == 1)
    left = identify(int(helpers.read_text()))

    os.kill(child.process.pid, signal.SIGKILL)
    until(supervisor, signals, lambda: child.restarts == 1)

    assert left is not None
    assert not is_running(left)


def test_a_process_that_keeps_ending_is_started_ever_more_slowly(supervisor, signals, said):
    child = supervisor.add(plan("raise SystemExit(3)"))

    until(supervisor, signals, lambda: child.quick_ends == 2)

    assert [line.split("(")[0] for line in said] == [
        "resize-1 ended with code 3; it starts again in 0.5 s ",
        "resize-1 ended with code 3; it starts again in 1 s ",
    ]


def test_a_process_that_does_not_end_is_killed_after_its_time(supervisor, signals, said, tmp_path):
    supervisor.add(plan(STUBBORN))
    until(supervisor, signals, lambda: "deaf" in (tmp_path / "resize-1.log").read_text())
    identity = supervisor.states()[0].identity

    supervisor.end("worker", signals, drain_s=0.2)

    assert not is_running(identity)
    assert any("killed" in line for line in said)


def test_one_that_was_ready_and_answers_no_more_hangs(supervisor, signals, monkeypatch):
    [port] = free_ports(1)
    child = supervisor.add(plan(SERVER, port, port=port))
    assert not supervisor.hangs("worker"), "it is still starting"
    until(supervisor, signals, lambda: supervisor.ready)
    assert not supervisor.hangs("worker")

    monkeypatch.setattr("muniflow_cli.stack.supervisor.SILENT_S", 0.5)
    os.kill(child.process.pid, signal.SIGSTOP)

    assert supervisor.hangs("worker")


def test_a_signal_asks_to_stop(signals):
    os.kill(os.getpid(), signal.SIGTERM)

    signals.wait(5)

    assert signals.asked_to_stop == 1


def test_a_process_is_known_by_its_start_too():
    me = identify(os.getpid())
    assert me is not None
    assert is_running(me)

    other = ProcessIdentity(pid=me.pid, started="1")

    assert not is_running(other)
    assert not send_signal(other, signal.SIGKILL), "the signal would have ended this test"


def test_nobody_runs_under_an_id_that_is_free():
    assert identify(2**22 + 1) is None
    assert not send_signal(ProcessIdentity(pid=2**22 + 1, started="1"), signal.SIGKILL)
