"""Real processes: a little HTTP server that says it is ready, or one that ends at once."""

import os
import signal
import sys
import time

import pytest

from muniflow.stack.plan import ProcessPlan
from muniflow.stack.ports import free_ports
from muniflow.stack.processes import Identity, identify, is_running, send_signal
from muniflow.stack.supervisor import Signals, Supervisor

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


def plan(code, *arguments, port=0):
    return ProcessPlan("resize-1", "worker", (sys.executable, "-c", code, *map(str, arguments)), http_port=port)


def until(supervisor, signals, condition, timeout_s=20):
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "not in time"
        signals.wait(0.05)
        supervisor.tick()


def test_a_process_that_is_killed_starts_again_and_it_says_so(supervisor, signals, said):
    [port] = free_ports(1)
    child = supervisor.add(plan(SERVER, port, port=port))
    until(supervisor, signals, lambda: supervisor.ready)
    first = supervisor.states()[0].identity

    os.kill(first.pid, signal.SIGKILL)
    until(supervisor, signals, lambda: child.running and supervisor.ready and supervisor.states()[0].identity != first)

    assert any("resize-1 was ended by SIGKILL; it starts again in 0.5 s" in line for line in said)


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


def test_a_signal_asks_to_stop(signals):
    os.kill(os.getpid(), signal.SIGTERM)

    signals.wait(5)

    assert signals.asked_to_stop == 1


def test_a_process_is_known_by_its_start_too():
    me = identify(os.getpid())
    assert me is not None
    assert is_running(me)

    other = Identity(pid=me.pid, started="1")

    assert not is_running(other)
    assert not send_signal(other, signal.SIGKILL), "the signal would have ended this test"


def test_nobody_runs_under_an_id_that_is_free():
    assert identify(2**22 + 1) is None
    assert not send_signal(Identity(pid=2**22 + 1, started="1"), signal.SIGKILL)
