"""A small batch beside a running large one, with real processes: it ends soon, and the large one keeps its rate."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.support.coordinators import CoordinatorProcess, User
from tests.support.waiting import eventually, seconds_until

from muniflow.images.encode import encode
from muniflow.model.messages import Encoding
from muniflow.runtime.settings import BrokerSettings
from muniflow_cli.stack.ports import free_ports

log = logging.getLogger(__name__)

LARGE, SMALL = 1400, 12
"""The large one is larger than all windows."""
SIDE_PX = 512
LIMIT_S = 2.0
SHARE = 6
"""On a machine so busy that its images alone take long, the small batch may take so many times as long as they do.
Without the lane it took 70 times as long."""
BEGUN = 60
"""Images of the large batch that are done before the small one is sent."""
RATE_S = 4.0
STEP = [["blur", "bilateral"]]


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    noise = np.random.default_rng(1)
    pixels = noise.integers(0, 255, (SIDE_PX // 8, SIDE_PX // 8, 3), dtype=np.uint8)
    body = encode(pixels.repeat(8, axis=0).repeat(8, axis=1), Encoding(format="jpg"))
    for folder, count in (("large", LARGE), ("small", SMALL)):
        path = tmp_path / "source" / folder
        path.mkdir(parents=True)
        for number in range(count):
            (path / f"{number:05}.jpg").write_bytes(body)
    return tmp_path


def environment(broker: BrokerSettings, root: Path) -> dict[str, str]:
    return {
        "MUNIFLOW_AMQP_URL": broker.amqp_url,
        "MUNIFLOW_DATABASE_URL": f"sqlite:///{root / 'state.sqlite'}",
        "MUNIFLOW_SOURCE_URL": str(root / "source"),
        "MUNIFLOW_WORK_URL": str(root / "work"),
        "MUNIFLOW_OUTPUT_URL": str(root / "output"),
    }


@pytest.fixture
def coordinator(broker: BrokerSettings, folders: Path) -> Iterator[CoordinatorProcess]:
    made = CoordinatorProcess(folders, environment(broker, folders)).start()
    yield made
    made.kill()


@pytest.fixture
def worker(broker: BrokerSettings, folders: Path) -> Iterator[None]:
    (port,) = free_ports(1)
    own = {"MUNIFLOW_HTTP_BIND": f"127.0.0.1:{port}", "MUNIFLOW_DURABLE_OUTPUTS": "false"}
    with (folders / "worker.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "muniflow_blur"],
            env={**os.environ, **environment(broker, folders), **own}, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    yield
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


NOISE = 8
"""Other tests take their part of this machine, now more and now less; a batch that is starved stands still."""


def rate_per_s(coordinator: CoordinatorProcess) -> float:
    """Of the large batch, over some seconds."""
    before, began_s = coordinator.done("large"), time.monotonic()
    eventually(lambda: time.monotonic() - began_s >= RATE_S, what="the end of a measurement")
    return (coordinator.done("large") - before) / (time.monotonic() - began_s)


@pytest.mark.usefixtures("worker")
def test_a_small_batch_does_not_wait_for_a_large_one(coordinator: CoordinatorProcess, user: User) -> None:
    user.submit("large", source="large/", operations=STEP)
    eventually(lambda: coordinator.done("large") >= BEGUN, what="the large batch runs")
    alone = rate_per_s(coordinator)

    user.submit("small", source="small/", operations=STEP)
    took_s = seconds_until(lambda: coordinator.done("small") == SMALL, what="the small batch ends")
    left = LARGE - coordinator.done("large")
    after = rate_per_s(coordinator)

    said = f"{took_s:.2f} s; the large batch at {alone:.0f}/s before, {after:.0f}/s after"
    log.info(said)
    assert left > SMALL, f"the large batch was to run on: {said}"
    assert took_s < max(LIMIT_S, SHARE * SMALL / alone), said
    assert after > alone / NOISE, f"the large batch goes on: {said}"
