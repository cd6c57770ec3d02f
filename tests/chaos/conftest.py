"""Harnesses of the chaos tests, over the broker of all tests."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.chaos.harness import Harness
from tests.chaos.ledger import LEDGERS, Ledgers, wants_postgres
from tests.chaos.pictures import write_pictures
from tests.conftest import BrokerOfTests
from tests.support.postgres import running_server

UNFINISHED_AFTER_S = 3.0


@pytest.fixture(scope="session", autouse=True)
def ledgers() -> Iterator[Ledgers]:
    """Where all harnesses keep their ledgers."""
    with ExitStack() as stack:
        if wants_postgres():
            LEDGERS.server = stack.enter_context(running_server())
        yield LEDGERS
        LEDGERS.server = None


@pytest.fixture(scope="module")
def node_settings(broker_of_tests: BrokerOfTests) -> BrokerOfTests:
    """The broker, alive: a test before this one may have killed it."""
    if broker_of_tests.node is not None and not broker_of_tests.node.running:
        broker_of_tests.node.kill()
        broker_of_tests.node.start()
    return broker_of_tests


@pytest.fixture(scope="module")
def harness(node_settings: BrokerOfTests, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    """One stack for all tests of a module, which tend it between them."""
    folder = Path(tmp_path_factory.mktemp("chaos"))
    # A small window: a batch of a dozen images is dispatched in several groups.
    small = {"MUNIFLOW_WINDOW_IMAGES": "5", "MUNIFLOW_UNFINISHED_AFTER_S": str(UNFINISHED_AFTER_S)}
    with Harness(folder, node_settings.settings, node_settings.node, variables=small) as made:
        write_pictures(made.root("source"), 40)
        made.until_ready()
        yield made
