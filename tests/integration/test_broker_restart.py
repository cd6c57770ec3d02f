"""The private broker of `muniflow up`: a part of it that is killed comes back, and nothing is lost."""

import os
import re
import shutil
import signal
import socket
import time
from contextlib import contextmanager, suppress
from functools import partial

import psutil  # type: ignore[import-untyped]
import pytest
from tests.integration.stacks import ROOT, CommandLine
from tests.support import web
from tests.support.waiting import eventually

from muniflow_cli.stack.broker import find_server
from muniflow_cli.stack.processes import is_running
from muniflow_cli.stack.state import read_state
from muniflow_cli.stack.supervisor import DRAIN_S

pytestmark = [
    pytest.mark.skipif(find_server() is None and os.environ.get("CI") != "true", reason="needs rabbitmq-server"),
    pytest.mark.timeout(300),
]
NOTICED_S = 30
"""Time to notice that a process ended; a quiet machine takes milliseconds."""
BACK_S = 90
"""Time until a node is back; a quiet machine takes 5 s."""


@pytest.fixture(scope="module")
def muniflow(tmp_path_factory):
    folder = tmp_path_factory.mktemp("broker-restart")
    shutil.copytree(ROOT / "examples", folder / "examples")
    cli = CommandLine(folder)
    done = cli("up", "--detach", "--no-gateway", timeout_s=200)
    assert done.returncode == 0, done.stderr
    yield cli
    cli("down", timeout_s=200)


IMAGES = 200
"""Of the batch that the broker is killed under: two seconds of work, and it is killed as soon as it is seen to run."""


def state_of(muniflow):
    return read_state(muniflow.state_dir)


def log_of(muniflow):
    return (muniflow.state_dir / "up.log").read_text()


def has_ended(muniflow, name, log_before):
    """Whether the log says so since it had this length."""
    return f"{name} was ended by SIGKILL" in log_of(muniflow)[log_before:]


def done_of(muniflow, batch):
    """How many of its images are done; none while the coordinator is not connected again and does not know it.

    Asked of the coordinator itself: a process for each look would see the batch half a second later.
    """
    answer = web.get(f"{state_of(muniflow).coordinator_url}/v1/batches/{batch}")
    return answer.json()["done"] if answer.is_success else 0


def process(muniflow, name):
    """A process of the stack as `stack.json` has it now, or `None`."""
    return next((each for each in state_of(muniflow).processes if each.name == name), None)


def left_of(muniflow):
    """Processes of the private broker that run, whoever their parent is."""
    home = str(muniflow.state_dir / "broker")
    found = []
    for each in psutil.process_iter():
        try:
            if each.environ().get("HOME") == home and each.status() != psutil.STATUS_ZOMBIE:
                found.append(each)
        except psutil.Error:
            continue
    return found


def nodes_of(muniflow):
    """How many of them are nodes; one that has just ended is none."""
    with suppress(psutil.Error):
        return [each.name() for each in left_of(muniflow)].count("beam.smp")


def kill(muniflow, *names):
    """SIGKILL processes of the stack and wait until each has a successor and everything is ready."""
    before = {name: process(muniflow, name) for name in names}
    for each in before.values():
        os.kill(each.identity.pid, signal.SIGKILL)
    eventually(lambda: not any(is_running(each.identity) for each in before.values()))
    return before


def until_back(muniflow, before):
    def back():
        now = {name: process(muniflow, name) for name in before}
        others = all(now[name] and now[name].identity != before[name].identity for name in before)
        return others and state_of(muniflow).ready

    eventually(back, BACK_S)


@contextmanager
def killed(muniflow, *names):
    """Kill parts of the broker; all comes back, and the log says so. What is asserted in between is before that."""
    url, log_before = state_of(muniflow).amqp_url, len(log_of(muniflow))

    before = kill(muniflow, *names)
    yield
    for name in names:
        eventually(partial(has_ended, muniflow, name, log_before), NOTICED_S)
    until_back(muniflow, before)

    for name in names:
        assert process(muniflow, name).restarts == before[name].restarts + 1
        assert re.search(rf"{name} is ready again .*restarts: {process(muniflow, name).restarts}", log_of(muniflow))
    assert state_of(muniflow).amqp_url == url
    eventually(lambda: nodes_of(muniflow) == 1, what="no other node is left beside it")


@pytest.mark.parametrize("names", [("epmd",), ("broker", "epmd")], ids="+".join)
def test_a_killed_part_of_the_broker_comes_back_and_the_log_says_so(muniflow, names):
    with killed(muniflow, *names):
        pass

    batch = muniflow.write_batch("after-" + "-".join(names), images=["coffee.png"])
    assert muniflow.read("submit", batch, "--wait")["state"] == "done"


def test_a_batch_that_the_broker_is_killed_under_loses_nothing(muniflow):
    images = muniflow.folder / "examples/many"
    images.mkdir()
    pictures = sorted((ROOT / "examples/images").glob("*.jpg"))
    for number in range(IMAGES):
        shutil.copy(pictures[number % len(pictures)], images / f"{number}.jpg")
    batch = muniflow.write_batch("across", source="examples/many/")
    muniflow.read("submit", batch)
    eventually(lambda: done_of(muniflow, "across"), BACK_S, every_s=0.01)

    with killed(muniflow, "broker"):
        assert muniflow.read("status", "across")["done"] < IMAGES, "it was in the middle"

    status = eventually(lambda: (now := muniflow.read("status", "across"))["state"] == "done" and now, 120)
    assert (status["total"], status["done"], status["failed"]) == (IMAGES, IMAGES, 0)
    assert len(list((muniflow.folder / ".muniflow/output/across").glob("*.jpg"))) == 4 * IMAGES


def test_while_its_port_is_taken_it_says_so_and_comes_back_when_it_is_free(muniflow):
    port = int(state_of(muniflow).amqp_url.rpartition(":")[2].partition("/")[0])
    before = kill(muniflow, "broker")

    def take():
        try:
            return socket.create_server(("127.0.0.1", port))
        except OSError:
            return None

    with eventually(take, NOTICED_S):
        eventually(lambda: f"broker cannot start: port {port} is taken" in log_of(muniflow), 2 * NOTICED_S)
        assert all(process(muniflow, name) for name in ("coordinator", "blur-1", "epmd")), "the others go on"
    until_back(muniflow, before)


def test_down_while_it_restarts_is_quick_and_leaves_nothing(muniflow):
    """The last one: it ends the stack."""
    state = state_of(muniflow)
    kill(muniflow, "broker")
    eventually(lambda: process(muniflow, "broker") is None, NOTICED_S)

    started_s = time.monotonic()
    assert muniflow.read("down", timeout_s=120) == {"stopped": True}

    assert time.monotonic() - started_s < DRAIN_S, "no worker waits for the broker"
    assert [each.name for each in state.processes if is_running(each.identity)] == []
    # Their end takes the kernel a moment.
    eventually(lambda: left_of(muniflow) == [], what=lambda: f"{left_of(muniflow)} left\n{log_of(muniflow)[-2000:]}")
