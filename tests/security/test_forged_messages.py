"""What whoever has the credentials of one step, or of a client, can do to the images of others: nothing.

A coordinator and a worker run with the chart's users and rights; the attacker has a channel of `step-resize` or of
`client`. The broker refuses most of it; what it cannot see, the coordinator does.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from pika import BasicProperties
from pika.exceptions import ChannelClosedByBroker, UnroutableError
from tests.chaos.harness import document
from tests.chaos.pictures import write_pictures
from tests.chaos.service import Service
from tests.support import web
from tests.support.chart_broker import installed
from tests.support.waiting import eventually

from muniflow.model.messages import Events, Settled
from muniflow.model.topology import (
    BATCHES,
    DEAD_EXCHANGE,
    EVENTS,
    EVENTS_EXCHANGE,
    EXCHANGE,
    LOST,
    TASKS_EXCHANGE,
    dead_queue,
    step_queue,
)
from muniflow_cli.stack.ports import free_ports
from muniflow_coordinator.metrics import REFUSED_EVENTS

ATTACKERS = ("client", "step-resize")
COUNT = 4


class Site:
    """A coordinator, and a worker that blurs, each as the chart's user."""

    def __init__(self, installation, folder: Path) -> None:
        self.installation, self.folder = installation, folder
        self.batches = 0
        for name in ("source", "work", "output"):
            (folder / name).mkdir()
        self.pictures = write_pictures(folder / "source", COUNT, 1)
        users = {"step-blur": ["blur"], "step-resize": ["resize"], "step-split": ["split"]}
        coordinator, worker = free_ports(2)
        told = {"MUNIFLOW_STEP_USERS": json.dumps(users), "MUNIFLOW_OPERATOR_USERS": "client"}
        self.coordinator = self._service("coordinator", coordinator, **told)
        self.worker = self._service("blur", worker, "step-blur")

    def _service(self, name: str, port: int, user: str = "coordinator", **variables: str) -> Service:
        own = {
            "MUNIFLOW_AMQP_URL": self.installation.settings(user).amqp_url,
            "MUNIFLOW_DATABASE_URL": f"sqlite:///{self.folder / 'state.sqlite'}",
            "MUNIFLOW_EARLIER_BUILD": "false",
            "MUNIFLOW_REDISPATCH_AFTER_S": "2",
            **{f"MUNIFLOW_{kind.upper()}_URL": str(self.folder / kind) for kind in ("source", "work", "output")},
        }
        return Service(name, f"muniflow_{name}", own | variables, self.folder / f"{name}.log", port)

    def send(self) -> str:
        """Hand in a batch that blurs; returns its id once its tasks wait for a worker."""
        self.batches += 1
        sent = document(f"forged-{self.batches}", self.pictures, [["blur", "gaussian"]])
        with self.installation.channel("client") as channel:
            channel.confirm_delivery()
            body = json.dumps(dict(sent)).encode()
            channel.basic_publish(EXCHANGE, BATCHES, body, BasicProperties(user_id="client"), mandatory=True)
        eventually(lambda: self.state(sent["batch_id"]).get("state") == "running", what=lambda: self.coordinator.text)
        return str(sent["batch_id"])

    def state(self, batch: str) -> dict[str, Any]:
        return dict(web.get(f"http://127.0.0.1:{self.coordinator.port}/v1/batches/{batch}").json())

    def is_done(self, batch: str) -> bool:
        state = self.state(batch)
        return (state["state"], state["done"]) == ("done", COUNT)

    def refused(self) -> float:
        text = web.get(f"http://127.0.0.1:{self.coordinator.port}/metrics").text
        return float(text.partition(f"\n{REFUSED_EVENTS.series} ")[2].split()[0])


@pytest.fixture(scope="module")
def site(broker_of_tests, tmp_path_factory):
    if broker_of_tests.node is None:
        pytest.skip("users are made on a private node only, and this broker is somebody's")
    with installed(broker_of_tests.node, tmp_path_factory.mktemp("definitions")) as installation:
        found = Site(installation, tmp_path_factory.mktemp("forged"))
        try:
            yield found
        finally:
            found.worker.kill()
            found.coordinator.kill()


def publish(site: Site, user: str, exchange: str, key: str, body: bytes, *, named: str | None) -> None:
    """Publish as a user of the broker.

    Raises:
        AMQPError: the broker refuses it, or leads it nowhere.
    """
    with site.installation.channel(user) as channel:
        channel.confirm_delivery()
        channel.basic_publish(exchange, key, body, BasicProperties(user_id=named), mandatory=True)


def done(batch: str) -> bytes:
    """Events that say that every image of a batch is done."""
    return Events(settled=tuple(Settled(batch=batch, image=image) for image in range(COUNT))).to_bytes()


def failed(batch: str) -> bytes:
    parts = (Settled.failure(batch, image, 0, reason="forged", code="lost") for image in range(COUNT))
    return Events(settled=tuple(parts)).to_bytes()


def test_a_worker_declares_nothing_and_comes_up_once_a_coordinator_does(site):
    site.worker.start()
    said = "the coordinator declares it"
    eventually(lambda: said in _readiness(site.worker.port), what=lambda: site.worker.text)
    site.coordinator.start()
    eventually(lambda: site.worker.ready and site.coordinator.ready, what=lambda: site.worker.text)
    site.worker.terminate()
    assert site.worker.process.wait(60) == 0


def _readiness(port: int) -> str:
    try:
        return web.get(f"http://127.0.0.1:{port}/readyz").text
    except httpx.TransportError as error:
        return str(error)  # nobody listens yet


@pytest.mark.parametrize("user", ATTACKERS)
@pytest.mark.parametrize(("exchange", "key"), [
    (EXCHANGE, EVENTS), (EXCHANGE, LOST), (EXCHANGE, step_queue("blur")), (EXCHANGE, dead_queue(EVENTS)),
    (DEAD_EXCHANGE, dead_queue(step_queue("blur"))), ("", EVENTS), ("", step_queue("blur")),
])  # fmt: skip
def test_the_broker_leads_no_message_of_theirs_to_events_or_tasks(site, user, exchange, key):
    with pytest.raises((ChannelClosedByBroker, UnroutableError)):
        publish(site, user, exchange, key, done("any"), named=user)


def test_a_client_publishes_to_no_exchange_of_workers(site):
    for exchange, key in ((TASKS_EXCHANGE, step_queue("blur")), (EVENTS_EXCHANGE, EVENTS)):
        with pytest.raises(ChannelClosedByBroker, match="ACCESS_REFUSED"):
            publish(site, "client", exchange, key, done("any"), named="client")


def test_events_of_a_user_that_does_not_serve_the_step_settle_nothing(site):
    batch, before = site.send(), site.refused()
    forged = [(done, "step-resize"), (failed, "step-resize"), (done, None)]
    for make, named in forged:
        publish(site, "step-resize", EVENTS_EXCHANGE, EVENTS, make(batch), named=named)
    with pytest.raises(ChannelClosedByBroker, match="user_id"):
        publish(site, "step-resize", EVENTS_EXCHANGE, EVENTS, done(batch), named="step-blur")
    eventually(lambda: site.refused() == before + len(forged), what=lambda: site.coordinator.text)
    state = site.state(batch)
    assert (state["state"], state["done"], state["failed"]) == ("running", 0, 0)
    assert "step-resize" in site.coordinator.text.partition("refused:")[2].partition("\n")[0]
    counted = eventually(lambda: web.get(f"http://127.0.0.1:{site.coordinator.port}/v1/letters").json()["letters"])
    assert {letter["queue"] for letter in counted} == {dead_queue(EVENTS)}


def test_a_task_that_a_foreign_user_had_refused_fails_no_image(site):
    """A worker refuses what is no task for it; the broker's copy of it fails an image where its sender may do so."""
    batch, before = site.send(), site.refused()
    publish(site, "step-resize", TASKS_EXCHANGE, step_queue("split"), _broken_task(batch), named="step-resize")
    with site.installation.channel("step-split") as channel:
        found = eventually(lambda: channel.basic_get(step_queue("split"))[0])
        channel.basic_reject(found.delivery_tag, requeue=False)
    eventually(lambda: site.refused() == before + 1, what=lambda: site.coordinator.text)
    assert site.state(batch)["failed"] == 0


def _broken_task(batch: str) -> bytes:
    return json.dumps({"v": 1, "batch": batch, "image": 0, "step": 0}).encode()


def test_what_an_administrator_deletes_is_there_again_and_nothing_is_lost(site):
    """Also what was in the queues: images of which no task and no event is left begin again."""
    batches = [site.send() for _ in range(3)]
    site.worker.start()
    with site.installation.channel("coordinator") as channel:
        for exchange in (EXCHANGE, TASKS_EXCHANGE, EVENTS_EXCHANGE):
            channel.exchange_delete(exchange)
        for queue in (EVENTS, step_queue("blur")):
            channel.queue_delete(queue)
    for batch in batches:
        eventually(partial(site.is_done, batch), what=lambda: site.coordinator.text)
    assert (site.worker.ready, site.coordinator.ready) == (True, True)
