"""The express lane in a whole worker over the in-memory broker."""

import pytest
from tests.support.compute_help import picture, spec, task, write_source
from tests.support.worker_help import WorkerHarness

from muniflow.model.messages import Task
from muniflow.model.topology import TASKS_EXCHANGE, express_queue, step_queue
from muniflow.transport.types import OutgoingMessage
from muniflow.worker.settings import WorkerSettings

LARGE, SMALL = 60, 6
NAP_S = 0.02
IN_HANDS = 2 * 2
"""Tasks that a child may have: two groups of two."""


@pytest.fixture
def root(tmp_path):
    for number in range(LARGE + SMALL):
        write_source(tmp_path, f"{number}.png", picture(30, 20, number))
    return tmp_path


def naps(first, count, queue, each_s=NAP_S):
    """Messages of tasks that take `each_s` each."""
    nap = "nap", {"seconds": each_s}
    numbered = (task(f"{n % (LARGE + SMALL)}.png", nap, image=n) for n in range(first, first + count))
    return [OutgoingMessage(queue, each.to_bytes(), TASKS_EXCHANGE) for each in numbered]


def order_of_settling(harness):
    return [part.image for part in harness.settled]


def test_express_tasks_get_in_before_those_that_are_held_and_not_begun(root):
    harness = WorkerHarness(spec(root), ("nap",), WorkerSettings(group_tasks=2, prefetch_min=LARGE), delay_scale=1.0)
    at: list[int] = []

    def look():
        if len(harness.settled) >= 8 and not at:
            assert harness.sample("muniflow_tasks_held") > LARGE / 2, "the worker holds tasks of the large batch"
            at.append(len(harness.settled))
            harness.coordinator.publish(naps(LARGE, SMALL, express_queue("nap")), lambda _problem: None)
        if len(harness.settled) == LARGE + SMALL:
            harness.worker.stop()

    harness.on_settled = look
    harness.run(naps(0, LARGE, step_queue("nap")))

    order = order_of_settling(harness)
    last = max(order.index(image) for image in range(LARGE, LARGE + SMALL))
    assert sorted(order) == list(range(LARGE + SMALL))
    # What children had, the express tasks, the turn that another group has in four, and two groups until they came.
    assert last - at[0] < IN_HANDS + SMALL + 2 + 4, order


def test_a_stream_of_express_tasks_leaves_the_others_a_quarter(root):
    harness = WorkerHarness(spec(root), ("nap",), WorkerSettings(group_tasks=2, prefetch_min=LARGE), delay_scale=1.0)
    half = LARGE // 2

    def look():
        if len(harness.settled) == LARGE:
            harness.worker.stop()

    harness.on_settled = look
    harness.run(naps(0, half, step_queue("nap")) + naps(half, half, express_queue("nap")))

    order = order_of_settling(harness)
    others_first = [image for image in order[:half] if image < half]
    assert half / 6 < len(others_first) < half / 2, order


def test_long_express_tasks_leave_the_others_turns_as_long(root):
    """With one mean for both lanes a turn of the others was one small task: 240 images of 2,410 in 10 s."""
    others, long = 400, 9
    settings = WorkerSettings(children=1, group_s=0.1, prefetch_min=4)
    harness = WorkerHarness(spec(root), ("nap",), settings, delay_scale=1.0)
    sent: list[int] = []

    def look():
        if len(harness.settled) >= others / 4 and not sent:
            sent.append(len(harness.settled))
            slow = naps(others, long, express_queue("nap"), each_s=0.1)
            harness.coordinator.publish(slow, lambda _problem: None)
        if len(harness.settled) == others + long:
            harness.worker.stop()

    harness.on_settled = look
    harness.run(naps(0, others, step_queue("nap"), each_s=0.004))

    order = order_of_settling(harness)
    express = [place for place, image in enumerate(order) if image >= others]
    # Two turns of the others or three, and each of them of some 0.1 s.
    assert express[-1] - express[0] - long > 30, order


def test_what_follows_from_an_express_task_is_express(root):
    harness = WorkerHarness(spec(root, operations=("half",)), ("half",), delay_scale=1.0)
    followed: list[str] = []

    def on_follow(delivery):
        followed.append(delivery.queue)
        assert Task.from_bytes(delivery.body).op == "smooth"
        harness.coordinator.ack([delivery])
        if len(followed) == 2:
            harness.worker.stop()

    for queue in (step_queue("smooth"), express_queue("smooth")):
        harness.coordinator.consume(queue, 10, on_follow)
    harness.operations = ("half", "smooth")
    sent = [
        OutgoingMessage(queue, task(f"{n}.png", "half", "smooth", image=n).to_bytes(), TASKS_EXCHANGE)
        for n, queue in enumerate([step_queue("half"), express_queue("half")])
    ]
    harness.run(sent)

    assert sorted(followed) == [express_queue("smooth"), step_queue("smooth")]
