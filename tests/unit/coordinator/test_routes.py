"""What the HTTP interface answers, over HTTP."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import CollectorRegistry

from muniflow.forecast.profile import Profile, read_profile
from muniflow.forecast.service_time import EARLIER_LENGTH, Sums
from muniflow.model.messages import Events, Settled, Tally, Task, TaskSums
from muniflow.runtime.clock import SYSTEM_CLOCK
from muniflow.runtime.http import HttpServer
from muniflow.testing.inline import InlineRepeater
from muniflow_coordinator.api.routes import Answers
from muniflow_coordinator.api.scaling import ScalingAnswers
from muniflow_coordinator.api.stages import QueueDepth, Stages
from muniflow_coordinator.coordinator import Coordinator
from muniflow_coordinator.foresight.fleet import stages_of
from muniflow_coordinator.lifecycle import Process
from muniflow_coordinator.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.coordinator.conftest import CoordinatorHarness


def read_depths(queues: Sequence[str]) -> Mapping[str, QueueDepth]:
    return {name: QueueDepth(3, 4, 0 if "paste" in name else 2) for name in queues}


class Here(Process):
    """A process whose coordinator leads without a lock."""

    def __init__(self, harness: "CoordinatorHarness", coordinator: Coordinator) -> None:
        assert harness.state
        idle = InlineRepeater(harness.loop)
        super().__init__(
            harness.loop, SYSTEM_CLOCK, harness.state, lock=Nobody(), repeater=idle, make=lambda _give_up: coordinator
        )
        self.coordinator = coordinator


class Nobody:
    """A lock that is never asked for."""

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
        self.stages = Stages(
            ("copy", "paste"), harness.rates, read_depths, InlineRepeater(harness.loop), {"copy": 5}.get
        )
        self.stages.poll()
        assert harness.state
        operations: Any = {"copy": None, "paste": None}
        process = self.process = Here(harness, coordinator)
        scaling = ScalingAnswers(stages_of((), operations), process.view)
        answers = Answers(harness.state, process.view, operations, self.stages, scaling, output=harness.stores.output)
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
    with closing(Site(harness)) as made:
        yield made


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
    transport = harness.coordinator.transport
    harness.until(lambda: transport.connected)
    assert site.text("/readyz")[0] == 200
    harness.coordinator.transport.stop(lambda: None)
    assert site.text("/readyz") == (503, '{"error": "not connected to the broker: stopped"}')
    assert site.get("/v1/info")["connected"] is False


def test_stages(site: Site, harness: "CoordinatorHarness") -> None:
    harness.pictures(2)
    harness.submit()
    harness.finish()
    copy, paste = site.get("/v1/stages")["stages"]
    assert (copy["ready"], copy["unacked"], copy["consumers"], copy["dead"]) == (6, 8, 2, 5), "of both queues"
    assert copy["rate_tasks_per_s"] > 0
    assert copy["drain_s"] > 0
    assert (paste["rate_tasks_per_s"], paste["drain_s"]) == (None, None)


def test_wanted_replicas_are_a_number_only_once_they_are_known(site: Site, harness: "CoordinatorHarness") -> None:
    status, body = site.text("/v1/scaling/copy")
    assert status == 503
    assert "just started" in body
    assert [one["wanted"] for one in site.get("/v1/stages")["deployments"]] == [None, None]
    assert harness.coordinator
    harness.consumers["copy"] = 2
    harness.coordinator.forecaster.turn()
    assert site.get("/v1/scaling/copy") == {"wanted": 0}
    assert site.text("/v1/scaling/nobody")[0] == 404
    copy, paste = site.get("/v1/stages")["deployments"]
    nothing = {"wanted": 0, "remaining_work_s": 0.0}
    assert copy == {"name": "copy", "operations": ["copy"], "running": 2, **nothing}
    assert paste == {"name": "paste", "operations": ["paste"], "running": None, **nothing}


def test_the_profile_is_what_workers_reported_and_a_standby_has_it_from_the_database(
    site: Site, harness: "CoordinatorHarness", answers: dict[str, Any]
) -> None:
    def answer(task: Task) -> list[Events]:
        numbers = tuple(Sums.of(12.0, 3.0, 0.5, outputs=4).as_list())
        known, outputs = numbers[:EARLIER_LENGTH], numbers[EARLIER_LENGTH:]
        sums = TaskSums(steps=1, reads="jpg", device="cpu", sums=known, outputs=outputs)
        (events,) = answers["all_done"](task)
        return [events.model_copy(update={"tallies": (Tally(batch="b", step=0, tasks=(sums,)),)})]

    assert read_profile(site.text("/v1/profile")[1]) == Profile()
    harness.answer = answer
    harness.pictures(4)
    harness.submit()
    harness.finish()
    learned = read_profile(site.text("/v1/profile?outputs=true")[1])
    ((task_class, sums),) = learned.observed.items()
    assert (task_class.key.split("/")[:3], sums.n, sums.mp_in) == (["copy", "jpg-jpg", "cpu"], 4, 48)
    assert sums.outputs == 16
    earlier = json.loads(site.text("/v1/profile")[1])
    assert (len(earlier["observed"][0]["sums"]), "output_s" in earlier) == (13, False), "an earlier build reads it"
    assert harness.coordinator
    harness.coordinator.service_times.save()
    site.process.coordinator = None
    ((same_class, kept),) = read_profile(site.text("/v1/profile?outputs=true")[1]).observed.items()
    assert same_class == task_class
    assert kept.as_list() == pytest.approx(sums.as_list(), rel=1e-3)


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
