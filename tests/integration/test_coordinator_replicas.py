"""Several coordinators on one PostgreSQL and one RabbitMQ: killed, frozen, cut off from the database."""

import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psycopg
import pytest
from tests.support.coordinators import CoordinatorProcess, NullWorker, User, pictures, report
from tests.support.postgres import PrivatePostgres
from tests.support.waiting import eventually, seconds_until

from muniflow.runtime.settings import BrokerSettings

pytest_plugins = ["tests.support.postgres_fixtures"]
IMAGES = 900
TAKEOVER_S = 15.0
pytestmark = pytest.mark.timeout(240)


class Replicas:
    """Three of them."""

    def __init__(self, root: Path, env: dict[str, str], count: int) -> None:
        self.all = [CoordinatorProcess(root, env, f"coordinator{number}").start() for number in range(count)]
        self.takeovers_s: list[float] = []

    def leaders(self, but: CoordinatorProcess | None = None) -> list[CoordinatorProcess]:
        return [replica for replica in self.all if replica is not but and replica.leads]

    def leader(self, but: CoordinatorProcess | None = None) -> CoordinatorProcess:
        eventually(lambda: self.leaders(but), what="a leader")
        return self.leaders(but)[0]

    def take_over_from(self, old: CoordinatorProcess) -> CoordinatorProcess:
        self.takeovers_s.append(seconds_until(lambda: self.leaders(old), TAKEOVER_S, "takeover"))
        return self.leaders(old)[0]

    def batch(self, batch: str = "b") -> dict[str, object]:
        for replica in self.all:
            status, answer = replica.get(f"/v1/batches/{batch}")
            if status == 200:
                return dict(answer)
        return {}

    def done(self) -> int:
        return int(str(self.batch().get("done", 0)))


@contextmanager
def replicas_of(root: Path, broker: BrokerSettings, url: str, count: int = 3, **more: str) -> Iterator[Replicas]:
    env = {"MUNIFLOW_AMQP_URL": broker.amqp_url, "MUNIFLOW_DATABASE_URL": url, "MUNIFLOW_WINDOW_IMAGES": "60"} | more
    made = Replicas(root, env, count)
    try:
        yield made
    finally:
        for replica in made.all:
            replica.kill()


def check_exact(root: Path, url: str, user: User, worker: NullWorker) -> str:
    """Everything settled once, in the report, in the database and in the queues."""
    found = report(root, "b")
    assert found["totals"] | {"outputs": 0} == {
        "images": IMAGES, "done": IMAGES, "failed": 0, "cancelled": 0, "outputs": 0, "skipped": 0,
    }  # fmt: skip
    assert len({image["source"] for image in found["images"]}) == IMAGES
    with psycopg.connect(url) as connection:
        states = connection.execute("select state, count(*) from images group by state").fetchall()
        counts = connection.execute("select state, total, done, failed, cancelled from batches").fetchall()
    assert states == [("done", IMAGES)]
    assert counts == [("done", IMAGES, IMAGES, 0, 0)]
    assert len(worker.tasks) == IMAGES
    for queue in ("events", "batches", "control"):
        eventually(lambda queue=queue: user.depth(f"muniflow.{queue}") == 0, what=queue)  # type: ignore[misc]
    again = sum(worker.tasks.values()) - IMAGES
    return f"images {IMAGES}, lost 0, doubled 0, unsettled 0; dispatched again without effect {again}"


def test_kills_and_freezes_of_leaders_lose_and_double_nothing(
    broker: BrokerSettings, postgres_url: str, user: User, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures(tmp_path, IMAGES)
    faults = 0
    chance = random.Random(7)  # noqa: S311 - not for secrets
    with replicas_of(tmp_path, broker, postgres_url) as replicas, NullWorker(broker, delay_s=0.01) as worker:
        leader = replicas.leader()
        user.submit("b")
        for share in (60, 160, 260, 360):
            eventually(lambda share=share: replicas.done() >= share, what=f"{share} done")  # type: ignore[misc]
            leader.kill()
            faults += 1
            leader, old = replicas.take_over_from(leader), leader
            old.start()
            assert len(replicas.leaders()) == 1
            time.sleep(chance.random() * 0.3)  # so that kills fall on other places of the work
        eventually(lambda: replicas.done() >= 500, what="500 done")
        leader.signal(signal.SIGSTOP)
        faults += 1
        replicas.take_over_from(leader)
        leader.signal(signal.SIGCONT)
        eventually(lambda: leader.stands_by, what="the frozen one stands by")
        assert leader.metric("muniflow_leader") == 0
        user.submit("b")
        eventually(lambda: replicas.batch().get("state") == "done", 120, what="done")
        line = check_exact(tmp_path, postgres_url, user, worker)
        times = ", ".join(f"{took_s:.1f}" for took_s in replicas.takeovers_s)
        with capsys.disabled():
            print(f"\nfaults {faults}, {line}; takeovers after {times} s (limit {TAKEOVER_S:.0f})")  # noqa: T201
        for replica in replicas.all:
            assert replica.terminate() == 0


def forecasts(replica: CoordinatorProcess) -> bool:
    return replica.get("/v1/scaling/blur")[0] == 200


def test_a_standby_that_knows_the_way_shows_what_is_in_flight(
    broker: BrokerSettings, postgres_url: str, user: User, tmp_path: Path
) -> None:
    pictures(tmp_path, 100)
    with replicas_of(tmp_path, broker, postgres_url, 2, MUNIFLOW_PEER_HOST="127.0.0.1") as replicas:
        eventually(lambda: any(replica.stands_by for replica in replicas.all), what="a standby")
        standby = next(replica for replica in replicas.all if replica.stands_by)
        leader = next(replica for replica in replicas.all if replica is not standby)
        eventually(lambda: leader.leads, what="a leader")
        user.submit("b")
        # Nobody works on the tasks, so the whole window stays in flight.
        eventually(lambda: leader.get("/v1/batches/b")[1].get("in_flight") == 60, what="the window")
        for replica in replicas.all:
            assert replica.get("/v1/batches/b")[1]["in_flight"] == 60
            assert replica.get("/v1/info")[1]["leader"]
        alone = standby.get("/v1/batches/b?passed_on=1")[1]
        assert (alone["in_flight"], alone["total"]) == (0, 100), "what the ledger knows"
        for replica in replicas.all:
            eventually(partial(forecasts, replica), what="a forecast")
            assert replica.get("/v1/scaling/nobody")[0] == 404
        assert standby.get("/v1/scaling/blur?passed_on=1")[0] == 503, "a number of its own would be made up"
        leader.kill()
        assert standby.get("/v1/batches/b")[0] == 200
        eventually(lambda: standby.get("/v1/batches/b")[1]["in_flight"] == 60, TAKEOVER_S, "takeover")


def test_a_database_that_stops_and_comes_back_is_delay(
    broker: BrokerSettings, postgres: PrivatePostgres, postgres_url: str, user: User, tmp_path: Path
) -> None:
    pictures(tmp_path, IMAGES)
    with replicas_of(tmp_path, broker, postgres_url, 2) as replicas, NullWorker(broker, delay_s=0.002) as worker:
        replicas.leader()
        user.submit("b")
        for number in (signal.SIGINT, signal.SIGQUIT):  # an orderly stop, and a crash
            before = replicas.done()
            eventually(lambda before=before: replicas.done() > before + 150, what="progress")  # type: ignore[misc]
            postgres.stop(number)
            eventually(lambda: all(one.get("/readyz")[0] == 503 for one in replicas.all), what="not ready")
            eventually(lambda: all(one.metric("muniflow_ledger_waiting") == 1 for one in replicas.all), what="waiting")
            assert all(one.get("/livez")[0] == 200 for one in replicas.all)
            assert "state database is unavailable" in replicas.all[0].get("/readyz")[1]["error"]
            postgres.start()
            eventually(lambda: len(replicas.leaders()) == 1, TAKEOVER_S, what="a leader again")
        eventually(lambda: replicas.batch().get("state") == "done", 120, what="done")
        check_exact(tmp_path, postgres_url, user, worker)
        for replica in replicas.all:
            assert replica.log.read_text().count("cannot elect a leader") <= 2
            assert replica.process.poll() is None


def test_a_coordinator_that_starts_before_its_database_waits_for_it(
    broker: BrokerSettings, postgres: PrivatePostgres, postgres_url: str, tmp_path: Path
) -> None:
    postgres.stop()
    with replicas_of(tmp_path, broker, postgres_url, 1) as replicas:
        (only,) = replicas.all
        eventually(lambda: only.get("/readyz")[0] == 503, what="not ready")
        assert only.get("/v1/batches/b")[0] == 503
        postgres.start()
        eventually(lambda: only.leads, TAKEOVER_S, what="leading")
        assert only.terminate() == 0
