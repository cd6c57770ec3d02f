"""When a running batch ends, as its status says: a real coordinator in virtual time, and workers that take time."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

import pytest
from tests.unit.coordinator.conftest import all_done

from muniflow.forecast.service_time import ServiceTime, Sums
from muniflow.forecast.sizes import Picture
from muniflow.forecast.stage import EFFICIENCY, Stage
from muniflow.images.pictures import OpenBlob
from muniflow.model.messages import Events, Tally, Task, TaskSums
from muniflow.model.operation import Size
from muniflow.model.topology import EVENTS, EVENTS_EXCHANGE
from muniflow.transport.types import Delivery, OutgoingMessage
from muniflow_coordinator.api.eta import Eta, eta_of
from muniflow_coordinator.foresight.forecaster import TURN_S

if TYPE_CHECKING:
    from tests.unit.coordinator.conftest import CoordinatorHarness

SMALL, LARGE = Picture(Size(640, 480), "jpg"), Picture(Size(4000, 3000), "jpg")
TRUE_TIME = ServiceTime(0.02, 0.03, 0.02)
"""Of a task on these workers: far from the default."""
SIZES = {"s": SMALL, "l": LARGE}


def read_by_name(_open_blob: OpenBlob, keys: Sequence[str]) -> list[Picture | None]:
    return [SIZES[key.rpartition("/")[2][0]] for key in keys]


@dataclass
class Workers:
    """Replicas with one child each, which take as long as a task takes."""

    here: "CoordinatorHarness"
    replicas: int
    efficiency: float = EFFICIENCY
    together_s: float = 0.0
    """The coordinator is told together of what is done within so long, but at once where nothing waits."""
    idle: int = field(init=False, default=0)
    hang: bool = field(init=False, default=False)
    told: list[tuple[OutgoingMessage, Delivery]] = field(init=False, default_factory=list)

    def start(self) -> None:
        self.here.hold = True
        self.here.consumers["copy"] = self.replicas
        self.idle = self.replicas
        self.here.loop.call_later(0, self.look)

    def look(self) -> None:
        while self.idle and self.here.held and not self.hang:
            self.idle -= 1
            self.work(self.here.held.pop(0))
        self.here.loop.call_later(0.05, self.look)

    def work(self, delivery: Delivery) -> None:
        task = Task.from_bytes(delivery.body)
        mp = SIZES[task.stem[0]].size.pixels / 1e6
        seconds = TRUE_TIME.seconds(mp, mp)

        def done() -> None:
            self.idle += 1
            (events,) = all_done(task)
            sums = TaskSums(steps=1, reads="jpg", device="cpu", sums=tuple(Sums.of(mp, mp, seconds).as_list()))
            tally = Tally(batch=task.batch, step=0, done=1, pixels=int(mp * 1e6), tasks=(sums,))
            body = Events(settled=events.settled, tallies=(tally,)).to_bytes()
            self.told.append((OutgoingMessage(EVENTS, body, EVENTS_EXCHANGE), delivery))
            if len(self.told) == 1:
                self.here.loop.call_later(self.together_s, self.tell)
            self.look()
            if not self.here.held:
                self.tell()

        self.here.loop.call_later(seconds / self.efficiency, done)

    def tell(self) -> None:
        told, self.told = self.told, []
        if told:
            deliveries = [delivery for _, delivery in told]
            self.here.worker.publish([message for message, _ in told], lambda _: self.here.worker.ack(deliveries))


@pytest.fixture
def here(tmp_path: Path, virtual_harness: "Callable[[Path], CoordinatorHarness]") -> "Iterator[CoordinatorHarness]":
    with closing(virtual_harness(tmp_path / "one")) as made:
        made.read_pictures = read_by_name
        yield made


def submit(here: "CoordinatorHarness", batch: str, kinds: str) -> None:
    names = [f"{kind}{number:05}.jpg" for number, kind in enumerate(kinds)]
    here.submit(batch_id=batch, source="in", images=names)
    here.until(lambda: here.state and (row := here.state.find(batch)) and row.state != "intake")


def pass_s(here: "CoordinatorHarness", seconds: float) -> None:
    here.loop.call_later(seconds, here.loop.stop)
    here.loop.start()


def eta(here: "CoordinatorHarness", batch: str = "b", waiting_for: str | None = None) -> Eta:
    assert here.coordinator
    run = here.coordinator.view.runs.get(batch)
    assert run
    return eta_of(here.coordinator.view, run.state, run, waiting_for)


def until(here: "CoordinatorHarness", condition: Callable[[], object]) -> None:
    """Let virtual time pass until `condition` holds, in coarse steps: `here.until` looks far more often."""
    for _ in range(2000):
        if condition():
            return
        pass_s(here, 0.25)
    raise AssertionError("not within 500 s")


def end_at(here: "CoordinatorHarness", batch: str) -> float:
    until(here, lambda: here.ended(batch))
    row = here.state.find(batch) if here.state else None
    assert row
    assert row.finished_at
    return row.finished_at


@pytest.mark.parametrize(
    ("kinds", "at", "efficiency"),
    [
        ("s" * 80 + "l" * 80, 0.1, EFFICIENCY),
        ("s" * 80 + "l" * 80, 0.25, EFFICIENCY),
        ("s" * 80 + "l" * 80, 0.25, 0.95),
        ("s" * 80 + "l" * 80, 0.5, EFFICIENCY),
        ("l" * 60 + "s" * 60, 0.25, EFFICIENCY),
        ("sl" * 60, 0.25, EFFICIENCY),
        ("l" * 80, 0.25, 0.95),
    ],
)
def test_the_eta_is_within_15_percent_also_for_small_then_large_images(
    here: "CoordinatorHarness", kinds: str, at: float, efficiency: float
) -> None:
    here.start(window_images=16, stages=(Stage(name="copy", operations=("copy",), min_replicas=2, max_replicas=2),))
    Workers(here, 2, efficiency).start()
    submit(here, "before", "sl" * 15)
    until(here, lambda: here.ended("before"))
    submit(here, "b", kinds)
    assert here.coordinator
    run = here.coordinator.view.runs.get("b")
    assert run
    until(here, lambda: run.counts.done >= at * len(kinds))
    pass_s(here, TURN_S)
    now, said = here.clock.now_s(), eta(here)
    assert said.eta_s is not None, said
    assert said.eta_at == pytest.approx(now + said.eta_s, abs=0.1)
    assert said.reason is None
    actual_s = end_at(here, "b") - now
    assert said.eta_s == pytest.approx(actual_s, rel=0.15)


def test_workers_tell_late_and_the_eta_is_right_all_the_same(here: "CoordinatorHarness") -> None:
    """Real batches had ended 0.3 s before their ETAs, from the middle on to the last image."""
    here.start(window_images=64, stages=(Stage(name="copy", operations=("copy",), min_replicas=2, max_replicas=2),))
    Workers(here, 2, together_s=0.6).start()
    submit(here, "before", "s" * 60)
    until(here, lambda: here.ended("before"))
    submit(here, "b", "s" * 1_000)
    said_at: list[float] = []

    def ended() -> bool:
        if here.ended("b"):
            return True
        if (now := eta(here).eta_at) is not None:
            said_at.append(now)
        return False

    until(here, ended)
    assert mean(said_at[len(said_at) // 2 :]) == pytest.approx(end_at(here, "b"), abs=0.15)


def test_while_something_waits_there_is_no_eta_but_a_reason(here: "CoordinatorHarness") -> None:
    coordinator = here.start(stages=(Stage(name="copy", operations=("copy",), max_replicas=1),))
    here.hold = True
    submit(here, "b", "s" * 20)
    pass_s(here, TURN_S + 1)
    assert eta(here) == Eta(reason="the number of workers of copy is not known")
    here.consumers["copy"] = 0
    pass_s(here, 600)
    assert eta(here) == Eta(reason="waits for a worker of copy"), "nobody scales this stage"
    assert eta(here, waiting_for="no consumer: copy") == Eta(reason="waits for a worker of copy")
    here.consumers["copy"] = 1
    pass_s(here, TURN_S)
    assert eta(here).eta_s is not None
    assert eta(here, waiting_for="broker: memory alarm") == Eta(reason="waits for broker: memory alarm")
    assert coordinator.live().eta_s is not None
    coordinator.retry_queue.waiting_for = "database unavailable"
    assert coordinator.live().eta_s is None
    assert "database unavailable" in str(eta(here).reason)
    coordinator.retry_queue.waiting_for = None


def test_a_worker_that_hangs_before_the_first_image_ends_the_eta(here: "CoordinatorHarness") -> None:
    """It keeps its place in the queue, and the page said "under a second left" for as long as it hung."""
    coordinator = here.start(window_images=16, stages=(Stage(name="copy", operations=("copy",), max_replicas=1),))
    workers = Workers(here, 1)
    workers.start()
    workers.hang = True
    submit(here, "b", "s" * 10)
    pass_s(here, TURN_S + 2)
    assert eta(here).eta_s is not None
    pass_s(here, 6)
    assert eta(here).eta_s is None
    assert "no image was settled for " in str(eta(here).reason)
    assert coordinator.live().eta_s is None
    workers.hang = False
    assert end_at(here, "b") - here.clock.now_s() < 5


def test_while_nothing_is_settled_any_more_the_eta_does_not_climb_but_goes(here: "CoordinatorHarness") -> None:
    """As where a broker is frozen: for a minute its connections look whole."""
    coordinator = here.start(window_images=16, stages=(Stage(name="copy", operations=("copy",), max_replicas=1),))
    workers = Workers(here, 1)
    workers.start()
    submit(here, "b", "s" * 1000)
    pass_s(here, 20)
    run = coordinator.view.runs.get("b")
    assert run
    assert (run.rate.per_s() or 0) > 1
    assert eta(here).eta_s is not None
    live = coordinator.live()
    assert (live.flow, set(live.owners)) == (["copy"], {"default"})
    own = live.owners["default"]
    assert (own.batches, own.pending, own.eta_s) == (1, run.counts.pending, live.eta_s)
    assert own.work_s["copy"] > 0
    workers.hang = True
    pass_s(here, 8)
    found = eta(here)
    assert (found.eta_s, found.eta_at) == (None, None)
    assert "no image was settled for " in str(found.reason)
    assert coordinator.live().eta_s is None
    assert run.rate.per_s() == 0.0
    workers.hang = False
    pass_s(here, 5)
    assert eta(here).eta_s is not None
    assert coordinator.live().eta_s is not None


@pytest.mark.usefixtures("unlisted")
def test_replicas_that_are_wanted_count_until_they_should_have_come(here: "CoordinatorHarness") -> None:
    def now_s() -> float:
        found = coordinator.view.forecaster.end_of("b").in_s
        assert found is not None
        return found

    coordinator = here.start(stages=(Stage(name="copy", operations=("copy",), max_replicas=10, horizon_s=10.0),))
    here.hold = True
    here.consumers["copy"] = 1
    submit(here, "b", "l" * 2000)
    pass_s(here, TURN_S)
    soon_s = now_s()
    pass_s(here, 120)
    alone_s = now_s()
    assert alone_s > 2 * soon_s
    here.consumers["copy"] = 2
    pass_s(here, TURN_S)
    assert now_s() < alone_s / 2, "one came, so the others do"
