"""A node that goes is no failed attempt of the tasks that it held; a task that ends workers is given up."""

import pytest
from tests.support.compute_help import picture, spec, task, write_source
from tests.support.worker_help import WorkerHarness, published

from muniflow.model.topology import DELIVERY_LIMIT, LOST, dead_queue, step_queue
from muniflow.runtime.loop import new_loop
from muniflow.transport.types import Delivery
from muniflow.worker.grouping import Kind
from muniflow.worker.held import (
    BEGUN,
    EXCLUSIVE_AFTER,
    MARK_AFTER,
    MARKED,
    RENEW_AFTER,
    SUSPECT_AFTER,
    Doubt,
    Held,
    Unclear,
    doubt_of,
    renewed,
)

IMAGES = 12
LOSSES = DELIVERY_LIMIT + 10
QUEUE = step_queue("nap")


def delivery(**headers: object) -> Delivery:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Delivery(QUEUE, b"task", 1, generation=1, headers=named)


@pytest.mark.parametrize(("vain", "headers", "doubt"), [
    (0, {}, Doubt()),
    (SUSPECT_AFTER - 1, {}, Doubt()),
    (SUSPECT_AFTER, {}, Doubt(alone=True)),
    (EXCLUSIVE_AFTER, {}, Doubt(alone=True, exclusive=True)),
    (MARK_AFTER, {}, Doubt(alone=True, exclusive=True, unclear=True)),
    (RENEW_AFTER, {}, Doubt(alone=True, exclusive=True, unclear=True, worn=True)),
    (0, {BEGUN: 0}, Doubt(alone=True, exclusive=True, unclear=True)),
    (0, {BEGUN: 3, MARKED: 1}, Doubt(alone=True, exclusive=True, begun=3, marked=True)),
    (1, {BEGUN: 3, MARKED: 1}, Doubt(alone=True, exclusive=True, begun=3, unclear=True)),
    (0, {BEGUN: "three"}, Doubt(alone=True, exclusive=True, unclear=True)),
])  # fmt: skip
def test_what_deliveries_say_about_a_task(vain: int, headers: dict[str, object], doubt: Doubt) -> None:
    assert doubt_of(delivery(x_delivery_count=vain, **headers)) == doubt


def held(**headers: object) -> Held:
    return Held(None, delivery(**headers), Kind("nap", first=True), None)  # type: ignore[arg-type]


def test_a_renewed_task_keeps_its_trace_and_nothing_of_the_broker() -> None:
    before = held(traceparent="00-1-2-01", x_delivery_count=9, x_death=[], begun=2, marked=1)
    message = renewed(before, 3)
    assert (message.routing_key, message.body) == (QUEUE, b"task")
    assert message.headers == {"traceparent": "00-1-2-01", BEGUN: 3}
    assert renewed(before, 4, marked=True).headers[MARKED] == 1


def test_tasks_are_marked_one_at_a_time() -> None:
    loop = new_loop()
    marked: list[Held] = []
    idle = [True]
    unclear = Unclear(loop, marked.append, lambda: idle[0], pause_s=0.001)
    for _ in range(3):
        unclear.add(held())
    assert len(marked) == 1
    unclear.came()
    loop.call_later(0.02, loop.stop)
    loop.start()
    assert len(marked) == 1, "while the marked one is here, no other is"
    idle[0] = False
    unclear.ended()
    assert len(marked) == 1, "it would not begin"
    idle[0] = True
    unclear.look()
    assert len(marked) == 2
    loop.call_later(0.02, loop.stop)
    loop.start()
    assert len(marked) == 3, "a marked copy may go to another worker"
    loop.close()


def lose(harness: WorkerHarness, times: int, pause_s: float) -> list[int]:
    """Lose the worker's node again and again: each time it holds tasks again, its connection goes."""
    left = [times]

    def look() -> None:
        if left[0] and harness.sample("muniflow_tasks_held") > 0:
            left[0] -= 1
            harness.worker.transport.drop("the node is gone")  # type: ignore[attr-defined]
        if left[0]:
            harness.loop.call_later(pause_s, look)

    harness.loop.call_later(pause_s, look)
    return left


def test_nodes_that_go_more_often_than_the_broker_allows_deliveries_fail_no_image(tmp_path) -> None:
    for number in range(IMAGES):
        write_source(tmp_path, f"{number}.png", picture(30, 20, number))
    harness = WorkerHarness(spec(tmp_path), ("nap",))
    left = lose(harness, LOSSES, pause_s=0.02)

    def look() -> None:
        if len(harness.coverage) == IMAGES:
            harness.worker.stop()

    harness.on_settled = look
    harness.run(published([task(f"{n}.png", ("nap", {"seconds": 0.1}), image=n) for n in range(IMAGES)]))
    assert left == [0]
    assert len(harness.coverage) == IMAGES
    assert {part.reason for part in harness.settled} == {None}
    depths = harness.broker.depths()
    assert (depths[dead_queue(QUEUE)], depths[LOST]) == (0, 0)


def test_a_task_that_ends_every_worker_is_given_up_and_no_other(tmp_path, monkeypatch) -> None:
    for name, limit in (("MARK_AFTER", 4), ("RENEW_AFTER", 6), ("MAX_BEGUN", 3)):
        monkeypatch.setattr(f"muniflow.worker.held.{name}", limit)
    for number in range(IMAGES):
        write_source(tmp_path, f"{number}.png", picture(30, 20, number))
    harness = WorkerHarness(spec(tmp_path), ("nap",))
    harness.worker.consumer._unclear.pause_s = 0.02

    def end_the_worker() -> None:
        if 0 not in harness.coverage:
            harness.worker.transport.drop("the worker ended")  # type: ignore[attr-defined]
            harness.loop.call_later(0.15, end_the_worker)

    def look() -> None:
        if len(harness.coverage) == IMAGES:
            harness.worker.stop()

    harness.on_settled = look
    harness.loop.call_later(0.3, end_the_worker)
    longest = ("nap", {"seconds": 0.4})
    first, *others = (task(f"{n}.png", longest if n == 0 else "nap", image=n) for n in range(IMAGES))
    harness.run(published([*others, first]))
    reasons = {part.image: part.reason for part in harness.settled}
    assert {image for image, reason in reasons.items() if reason} == {0}
    assert "3 workers ended while they computed it alone" in str(reasons[0])
    depths = harness.broker.depths()
    assert (depths[dead_queue(QUEUE)], depths[LOST]) == (0, 0)
