"""The other side of a process on a real broker."""

from collections.abc import Iterator
from contextlib import closing

import pytest
from tests.support.coordinators import User
from tests.support.worker_client import WorkerClient

from muniflow.runtime.settings import BrokerSettings


@pytest.fixture
def user(broker: BrokerSettings) -> Iterator[User]:
    """Who hands batches to a coordinator."""
    with closing(User(broker)) as made:
        yield made


@pytest.fixture
def worker_client(broker: BrokerSettings) -> Iterator[WorkerClient]:
    """Who gives tasks to a worker."""
    with closing(WorkerClient(broker)) as made:
        yield made
