"""One whole stack with a gateway, for all tests of this folder; and gateways of their own for tests that kill them."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.integration.gateway.help import OwnGateway, own_gateways
from tests.integration.gateway.pages import browser, open_page  # noqa: F401 - fixtures of all tests of the page
from tests.integration.stacks import ROOT, CommandLine, clean_environment, kill_stack
from tests.support import web
from tests.support.inside_broker import TOO_LITTLE_MEMORY, set_memory_limit
from tests.support.waiting import eventually

from muniflow.model.messages import TERMINAL
from muniflow.runtime.settings import BrokerSettings, to_env
from muniflow.runtime.state_folder import state_folder
from muniflow_cli.stack.broker import PrivateBroker, find_server
from muniflow_cli.stack.ports import free_ports
from muniflow_cli.stack.state import StackState, read_state

GOUDA = {"batch": {"images": 1000}, "day": {"megapixels": 60}}
LIMITS = {
    "MUNIFLOW_REQUESTS_PER_MINUTE": "1000000",
    "MUNIFLOW_MEBIBYTES_PER_HOUR": "1000000",
    "MUNIFLOW_OWNER_BUDGETS": json.dumps({"gouda": GOUDA}),
}
"""Of the stack; one owner has budgets of its own."""


@dataclass(frozen=True)
class Stack:
    """A stack that runs."""

    folder: Path
    """The source root."""
    state_dir: Path
    state: StackState

    @property
    def url(self):
        """Base of the gateway."""
        return self.state.gateway_url

    @property
    def gateway_pid(self):
        """The gateway's process now; the supervisor may have started it anew."""
        (pid,) = self.pids("gateway")
        return pid

    def pids(self, prefix):
        """Processes that run now, by how their names begin."""
        state = read_state(self.state_dir)
        assert state is not None
        return [process.identity.pid for process in state.processes if process.name.startswith(prefix)]

    @property
    def environment(self):
        """What another process of this stack needs."""
        return {
            **clean_environment(),
            **to_env(BrokerSettings(amqp_url=self.state.amqp_url), self.state.stores),
            **LIMITS,
            "MUNIFLOW_GATEWAY_OPEN": "true",
            "MUNIFLOW_COORDINATOR_URL": self.state.coordinator_url,
        }

    def settled(self, batch_id, timeout_s=60):
        """A batch once it is in a terminal state."""

        def now():
            answer = web.get(f"{self.url}/v1/batches/{batch_id}")
            return answer.json() if answer.is_success and answer.json()["state"] in TERMINAL else None

        return eventually(now, timeout_s)


def make_daemon(folder, environment):
    """Start a stack below `folder` as `make daemon` does: by its own recipe, all but the installation."""
    (folder / "scripts").mkdir()
    (folder / "scripts" / "bootstrap").symlink_to("/bin/true")
    # `make test` hands on how it was called itself, which is nothing to this one.
    env = {name: value for name, value in environment.items() if name not in {"MAKEFLAGS", "MFLAGS", "MAKELEVEL"}}
    done = subprocess.run(
        ["make", "--file", str(ROOT / "Makefile"), f"BIN={Path(sys.executable).parent}", "daemon"],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "open to every program of this machine" in done.stdout


@pytest.fixture(scope="session")
def stack(tmp_path_factory):
    if find_server() is None and os.environ.get("CI") != "true":
        pytest.skip("needs rabbitmq-server")
    folder = tmp_path_factory.mktemp("gateway-stack")
    shutil.copytree(ROOT / "examples", folder / "examples")
    # A small window, so that cancelling takes effect within seconds.
    environment = {
        **clean_environment(),
        **LIMITS,
        "MUNIFLOW_WINDOW_IMAGES": "16",
        "MUNIFLOW_UNSIGNED_TASKS": "refuse",
        "XDG_STATE_HOME": str(tmp_path_factory.mktemp("gateway-state")),
        "MUNIFLOW_GATEWAY_BIND": f"127.0.0.1:{free_ports(1)[0]}",  # 8080 is what other stacks want at this moment
    }
    make_daemon(folder, environment)
    state_dir = state_folder(environment, folder)
    state = read_state(state_dir)
    assert state is not None
    yield Stack(folder, state_dir, state)
    kill_stack(state_dir)


@pytest.fixture(scope="session")
def muniflow(stack):
    """The command line, called in the stack's folder."""
    return CommandLine(stack.folder, {"MUNIFLOW_STATE_DIR": str(stack.state_dir)})


@pytest.fixture
def http(stack):
    with web.Client(base_url=stack.url, timeout=60) as client:
        yield client


@pytest.fixture
def low_memory(stack):
    """`with low_memory():` raises the broker's memory alarm: it takes no messages."""
    node = PrivateBroker(stack.state_dir / "broker")

    @contextmanager
    def raised():
        set_memory_limit(node, TOO_LITTLE_MEMORY)
        try:
            yield
        finally:
            set_memory_limit(node, "0.4")

    return raised


@pytest.fixture
def own_gateway(stack, tmp_path):
    """Starts a gateway of its own on the same stack; all are ended after the test."""
    with own_gateways(stack.environment, tmp_path, OwnGateway.ready) as start:
        yield start
