"""What the HTTP interface answers, over HTTP."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import CollectorRegistry

from muniflow.model.messages import Events, Settled, Task
from muniflow.runtime.http import HttpServer
from muniflow_coordinator.api.routes import Answers
from muniflow_coordinator.api.stages import Depth, Stages
from muniflow_coordinator.lifecycle import Process
from muniflow_coordinator.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.coordinator.conftest import CoordinatorHarness


def read_depths(queues: Sequence[str]) -> Mapping[str, Depth]:
    return {name: Depth(3, 4, 0 if "paste" in name else 2) for name in queues}


class Here(Process):
    """A process whose coordinator works, and needs no claim for it."""

    def __init__(self, coordinator: Any) -> None:
        super().__init__(coordinator.core.loop, coordinator.core.state, Nobody(), lambda _give_up: coordinator)
        self.coordinator = coordinator


class Nobody:
    """A claim that is never asked for."""

    poll_s = renew_s = valid_s = 1.0
    holder = None

    def acquire(self) -> bool:
        raise NotImplementedError

    renew = acquire

    def release(self) -> None:
        raise NotImplementedError


class Site:
    """The coordinator's HTTP server in a harness; requests are answered while the loop turns."""

    def __init__(self, harness: "CoordinatorHarness") -> None:
        coordinator = harness.start()
        self.harness = harness
        self.stages = Stages(("copy", "paste"), coordinator.rates, read_depths)
        self.stages.poll()
        operations: Any = {"copy": None, "paste": None}
        process = Here(coordinator)
        answers = Answers(coordinator.core.state, process.core, operations, self.stages)
        registry = CollectorRegistry()
        self.metrics = Metrics(registry)
        self.metrics.watch(coordinator.live)
        self.server = HttpServer(
            "127.0.0.1:0",
            registry,
            answers.routes(),
            live=process.alive,
            ready=process.why_not_ready,
            status=process.part,
        )
        self.server.start()
        self.pool = ThreadPoolExecutor(1)

    def text(self, path: str) -> tuple[int, str]:
        def get() -> tuple[int, str]:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.server.port}{path}", timeout=5) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read().decode()

        asked = self.pool.submit(get)
        self.harness.until(asked.done)
        return asked.result()

    def get(self, path: str) -> Any:
        status, body = self.text(path)
        assert status == 200, body
        return json.loads(body)

    def close(self) -> None:
        self.server.stop()
        self.pool.shutdown()


@pytest.fixture
def site(harness: "CoordinatorHarness") -> "Iterator[Site]":
    made = Site(harness)
    yield made
    made.close()


def test_a_batch_from_running_to_done(site: Site, harness: "CoordinatorHarness", answers: dict[str, Any]) -> None:
    harness.pictures(4)
    harness.hold = True
    harness.submit(operations=[["copy", 2], ["paste", 1]], municipality="Utrecht")
    harness.until(lambda: len(harness.held) == 4)
    now = site.get("/v1/batches/b")
    assert (now["state"], now["in_flight"], now["total"], now["done"]) == ("running", 4, 4, 0)
    assert [(step["op"], step["expected"]) for step in now["steps"]] == [("copy", 4), ("paste", 8)]
    assert (now["waiting_for"], now["outputs_per_image"]) == ("no consumer: paste", 2)
    harness.answer = lambda task: answers["failed" if task.image == 2 else "all_done"](task)
    harness.let_go()
    harness.finish()
    after = site.get("/v1/batches/b")
    assert (after["state"], after["done"], after["failed"], after["report"]) == ("partial", 3, 1, "b/report.json")
    assert after["finished_at"] >= after["submitted_at"]
    assert after["steps"][0]["done"] == 3
    assert after["waiting_for"] is None
    assert [batch["batch_id"] for batch in site.get("/v1/batches?municipality=Utrecht")["batches"]] == ["b"]
    assert site.get("/v1/batches?state=running") == {"batches": [], "next": None}


def test_images_come_in_pages(site: Site, harness: "CoordinatorHarness", answers: dict[str, Any]) -> None:
    harness.pictures(5)
    harness.answer = lambda task: answers["failed" if task.image == 3 else "all_done"](task)
    harness.submit(operations=[["copy", 2]])
    harness.finish()
    page = site.get("/v1/batches/b/images?limit=3")
    assert [image["image"] for image in page["images"]] == [0, 1, 2]
    assert page["images"][0]["outputs"] == ["b/0000-0.jpg", "b/0000-1.jpg"]
    rest = site.get(f"/v1/batches/b/images?after={page['next']}")
    assert ([image["image"] for image in rest["images"]], rest["next"]) == ([3, 4], None)
    (failed,) = site.get("/v1/batches/b/images?state=failed")["images"]
    assert (failed["reasons"], failed["outputs"]) == (["operations[0] (copy): not an image"], [])


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/batches/nobody", 404),
        ("/v1/batches/nobody/images", 404),
        ("/v1/batches?limit=x", 400),
        ("/v1/batches?limit=0", 400),
        ("/v1/batches?after=99999999999999999999", 400),
        ("/v1/nothing", 404),
        ("/livez", 200),
    ],
)
def test_status_codes(site: Site, path: str, status: int) -> None:
    assert site.text(path)[0] == status


def test_readiness_follows_the_broker(site: Site, harness: "CoordinatorHarness") -> None:
    assert harness.coordinator
    transport = harness.coordinator.core.transport
    harness.until(lambda: transport.connected)
    assert site.text("/readyz")[0] == 200
    harness.coordinator.core.transport.stop(lambda: None)
    assert site.text("/readyz") == (503, '{"error": "not connected to the broker: stopped"}')
    assert site.get("/v1/info")["connected"] is False


def test_stages(site: Site, harness: "CoordinatorHarness") -> None:
    harness.pictures(2)
    harness.submit()
    harness.finish()
    copy, paste = site.get("/v1/stages")["stages"]
    assert (copy["ready"], copy["unacked"], copy["consumers"], copy["dead"]) == (3, 4, 2, 3)
    assert copy["rate_tasks_per_s"] > 0
    assert copy["drain_s"] > 0
    assert (paste["rate_tasks_per_s"], paste["drain_s"]) == (None, None)


def test_metrics_count_images_and_name_no_batch(site: Site, harness: "CoordinatorHarness") -> None:
    harness.hold = True
    harness.pictures(3)
    harness.submit(batch_id="secret-batch")
    harness.until(lambda: len(harness.held) == 3)
    _, text = site.text("/metrics")
    assert 'muniflow_batches{state="running"} 1.0' in text
    assert "muniflow_images_in_flight 3.0" in text
    assert "secret-batch" not in text
    task = Task.from_bytes(harness.held[0].body)
    harness.publish("muniflow.events", Events(settled=(Settled(batch=task.batch, image=0),)).to_bytes())
    coordinator = harness.coordinator
    assert coordinator
    harness.until(lambda: coordinator.live().in_flight == 2)
    assert "muniflow_images_in_flight 2.0" in site.text("/metrics")[1]
