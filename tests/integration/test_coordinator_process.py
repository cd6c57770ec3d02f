"""One coordinator with SQLite as a real process on a real RabbitMQ: killed, restarted, stopped, locked out."""

import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.coordinators import CoordinatorProcess, NullWorker, User, pictures, report
from tests.support.waiting import eventually, seconds_until

from muniflow.runtime.settings import BrokerSettings

IMAGES = 300
GRACE_S = 30
"""What Kubernetes gives a pod to end, where nothing else is asked for."""


@pytest.fixture
def env(broker: BrokerSettings, tmp_path: Path) -> dict[str, str]:
    return {
        "MUNIFLOW_AMQP_URL": broker.amqp_url,
        "MUNIFLOW_DATABASE_URL": f"sqlite:///{tmp_path / 'state.sqlite'}",
        "MUNIFLOW_WINDOW_IMAGES": "40",
    }


@pytest.fixture
def coordinator(env: dict[str, str], tmp_path: Path) -> Iterator[CoordinatorProcess]:
    pictures(tmp_path, IMAGES)
    made = CoordinatorProcess(tmp_path, env).start()
    yield made
    made.kill()


def ended(coordinator: CoordinatorProcess, batch: str = "b") -> bool:
    status, answer = coordinator.get(f"/v1/batches/{batch}")
    return status == 200 and answer["state"] == "done"


def test_killed_and_started_again_it_ends_its_batch_and_stops_in_time(
    coordinator: CoordinatorProcess, user: User, broker: BrokerSettings, tmp_path: Path
) -> None:
    with NullWorker(broker, delay_s=0.003) as worker:
        user.submit("b")
        for share in (50, 120, 200):
            eventually(lambda share=share: coordinator.done() > share, what=f"{share} done")  # type: ignore[misc]
            coordinator.kill()
            coordinator.start()
        eventually(lambda: ended(coordinator), what="done")
    begun_s = time.monotonic()
    assert coordinator.terminate() == 0
    assert time.monotonic() - begun_s < GRACE_S
    assert {image["state"] for image in report(tmp_path, "b")["images"]} == {"done"}
    assert len(report(tmp_path, "b")["images"]) == len(worker.tasks) == IMAGES
    assert user.depth("muniflow.events") == user.depth("muniflow.batches") == 0
    assert [state for state in user.notices() if state != "running"].count("done") >= 1


def test_two_on_one_file_one_works_and_the_other_follows(
    coordinator: CoordinatorProcess, env: dict[str, str], user: User, broker: BrokerSettings, tmp_path: Path
) -> None:
    eventually(lambda: coordinator.leads, what="leading")
    second = CoordinatorProcess(tmp_path, env, "second").start()
    try:
        eventually(lambda: second.stands_by, what="standby")
        assert (coordinator.metric("muniflow_leader"), second.metric("muniflow_leader")) == (1, 0)
        with NullWorker(broker, delay_s=0.003):
            user.submit("b")
            eventually(lambda: coordinator.done() > 50, what="50 done")
            assert second.get("/v1/batches/b")[1]["total"] == IMAGES, "a standby answers, too"
            coordinator.kill()
            took_s = seconds_until(lambda: second.leads, what="takeover")
            eventually(lambda: ended(second), what="done")
        print(f"takeover with SQLite after SIGKILL: {took_s:.1f} s")  # noqa: T201 - it is what is measured
        assert second.terminate() == 0
    finally:
        second.kill()


def test_a_standby_ends_at_once(coordinator: CoordinatorProcess, env: dict[str, str], tmp_path: Path) -> None:
    eventually(lambda: coordinator.leads, what="leading")
    second = CoordinatorProcess(tmp_path, env, "second").start()
    try:
        eventually(lambda: second.stands_by, what="standby")
        assert second.terminate(10) == 0
        assert coordinator.leads
    finally:
        second.kill()


def test_a_locked_database_is_delay_and_said_so(
    coordinator: CoordinatorProcess, user: User, broker: BrokerSettings, tmp_path: Path
) -> None:
    eventually(lambda: coordinator.leads, what="leading")
    other = sqlite3.connect(tmp_path / "state.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with NullWorker(broker):
        user.submit("b")
        eventually(lambda: coordinator.metric("muniflow_ledger_waiting") == 1, what="waiting")
        assert coordinator.get("/readyz")[0] == 503
        assert "database is locked" in coordinator.get("/readyz")[1]["error"]
        assert coordinator.get("/livez")[0] == 200
        coordinator.signal(0)
        other.execute("ROLLBACK")
        other.close()
        eventually(lambda: ended(coordinator), what="done")
    log = coordinator.log.read_text()
    assert log.count("database unavailable, retrying") == 1
    assert log.count("database available again") == 1
    assert coordinator.metric("muniflow_ledger_waiting") == 0


def test_a_source_that_is_missing_is_said_in_the_status(
    coordinator: CoordinatorProcess, user: User, tmp_path: Path
) -> None:
    eventually(lambda: coordinator.leads, what="leading")
    (tmp_path / "source").rename(tmp_path / "elsewhere")
    user.submit("b")
    eventually(lambda: (coordinator.get("/v1/batches/b")[1] or {}).get("waiting_for"), what="a reason")
    status = coordinator.get("/v1/batches/b")[1]
    assert (status["state"], "is its volume mounted" in status["waiting_for"]) == ("intake", True)
    coordinator.signal(signal.SIGKILL)
    coordinator.kill()
    coordinator.start()
    eventually(lambda: (coordinator.get("/v1/batches/b")[1] or {}).get("waiting_for"), what="a reason after a restart")
    (tmp_path / "elsewhere").rename(tmp_path / "source")
    eventually(lambda: coordinator.get("/v1/batches/b")[1]["total"] == IMAGES, what="accepted")
    assert coordinator.get("/v1/batches/b")[1]["state"] == "running"
