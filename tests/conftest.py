"""The broker of the tests: the one that MUNIFLOW_TEST_AMQP_URL names, a private node, or a container."""

import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from muniflow.errors import Unavailable
from muniflow.model.operation import GROUP
from muniflow.model.topology import topology
from muniflow.runtime.settings import BrokerSettings
from muniflow.transport.admin import delete_queues
from muniflow_cli.stack.broker import PrivateBroker, find_server

URL_VARIABLE = "MUNIFLOW_TEST_AMQP_URL"
IMAGE = "rabbitmq:3.13-alpine"
MEMORY = Path("/dev/shm")  # noqa: S108 - everything makes a folder of its own below it
MEMORY_NEEDED_BYTES = 4 << 30
ONE_STACK = ("tests/integration/gateway", "tests/security")
"""All tests of such a folder share one stack."""
LONG = (
    *(*ONE_STACK, "tests/chaos", "tests/integration", "tests/upgrade", "tests/power_cuts", "tests/three_brokers"),
    *("tests/contract", "tests/unit/steps/test_opencl.py", "tests/unit/compute", "tests/unit/worker"),
    "tests/simulation",
)
"""What takes longest, files of a minute among them: begun last, such a file would leave all other processes idle."""


def pytest_configure() -> None:
    """Prepare the environment of all the processes that tests start."""
    _write_into_memory()
    # How long an example takes says more of what else the machine does.
    hypothesis.settings.register_profile("tests", deadline=None)
    hypothesis.settings.load_profile("tests")
    # They are hundreds, in containers often with this variable: each would compile all our modules again.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False  # nor ours: half of a collection rewrites asserts, which pytest keeps as byte code


def _write_into_memory() -> None:
    """Put what the tests write into memory, where that is possible.

    They kill processes, never machines (`tests/power_cuts` has volumes of its own), so no test asks a disk to keep
    anything. But where a disk takes a second for
    an `fsync`, RabbitMQ gives up declaring a quorum queue after five and closes the connection (541).
    """
    if "TMPDIR" not in os.environ and _fits(MEMORY):
        os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)  # for what we start, and for this process


def pytest_collection() -> None:
    """Collect without looking for garbage: 8,000 tests are made and all are kept."""
    gc.disable()


def pytest_collection_finish() -> None:
    """From here on there is garbage again; the tests themselves are none, and need not be looked at any more."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long: the quick tests come last and fill what is left of a process."""
    items.sort(key=lambda item: next((n for n, start in enumerate(LONG) if item.nodeid.startswith(start)), len(LONG)))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each process of `pytest -n` whole files: what is made for a module is made once."""
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

    scheduler = LoadScopeScheduling(config, log)
    scheduler._split_scope = _unit_of
    return scheduler


def _unit_of(test: str) -> str:
    """What goes to one process together with this test."""
    return next((folder for folder in ONE_STACK if test.startswith(folder)), test.partition("::")[0])


def _fits(folder: Path) -> bool:
    """Whether there is room, and programs may be started from it: in containers they often may not."""
    if not os.access(folder, os.W_OK):
        return False
    return shutil.disk_usage(folder).free >= MEMORY_NEEDED_BYTES and not os.statvfs(folder).f_flag & os.ST_NOEXEC


@dataclass(frozen=True)
class BrokerOfTests:
    """A real RabbitMQ."""

    settings: BrokerSettings
    node: PrivateBroker | None = None
    """The node itself, where it is ours to restart and to trouble."""


def _in_container() -> Iterator[BrokerOfTests]:
    from testcontainers.rabbitmq import RabbitMqContainer

    with RabbitMqContainer(IMAGE) as container:
        host, port = container.get_container_host_ip(), container.get_exposed_port(5672)
        url = f"amqp://{container.username}:{container.password}@{host}:{port}/%2F"
        yield BrokerOfTests(BrokerSettings(amqp_url=url))


def _engine_answers() -> bool:
    import docker  # type: ignore[import-untyped]
    from docker.errors import DockerException  # type: ignore[import-untyped]

    try:
        client = docker.from_env(timeout=5)
    except DockerException:
        return False
    client.close()
    return True


@pytest.fixture(scope="session")
def broker_of_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerOfTests]:
    """One RabbitMQ for each xdist worker: they may block and restart it without harm to each other."""
    if url := os.environ.get(URL_VARIABLE):
        yield BrokerOfTests(BrokerSettings(amqp_url=url))
    elif find_server():
        node = PrivateBroker(Path(tmp_path_factory.mktemp("rabbitmq")))
        node.start()
        try:
            yield BrokerOfTests(BrokerSettings(amqp_url=node.amqp_url), node)
        finally:
            node.kill()  # its data is not needed again, and a graceful stop takes 6 s
    elif _engine_answers():
        yield from _in_container()
    else:
        missing = f"no RabbitMQ: {URL_VARIABLE} is not set, rabbitmq-server not installed, and no Docker engine answers"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)


@pytest.fixture
def broker(broker_of_tests: BrokerOfTests) -> BrokerSettings:
    """A real RabbitMQ without any of muniflow's queues: each test begins with an empty one.

    Deleting 20 queues takes some milliseconds; a virtual host of its own for each test takes a second.
    """
    names = [queue.name for queue in topology(entry.name for entry in entry_points(group=GROUP)).queues]
    try:
        delete_queues(broker_of_tests.settings, names)
    except Unavailable:  # an earlier test has killed it
        if broker_of_tests.node is None:
            raise
        broker_of_tests.node.kill()
        broker_of_tests.node.start()
        delete_queues(broker_of_tests.settings, names)
    return broker_of_tests.settings


@pytest.fixture
def private_broker(broker: BrokerSettings, broker_of_tests: BrokerOfTests) -> PrivateBroker:
    """The node behind `broker`, for tests that stop it, kill it or raise its alarms."""
    if broker_of_tests.node is None:
        pytest.skip(f"needs a node of our own: {broker.amqp_url.rpartition('@')[2]} belongs to somebody else")
    return broker_of_tests.node
