"""A whole worker over the in-memory broker: nothing is lost, nothing is acked too early, nothing crashes it."""

import json
import os
import signal
from itertools import pairwise

import pytest
from tests.support.compute_help import context, files, picture, spec, task, write_source
from tests.support.worker_help import WorkerHarness, published

from muniflow.compute.process import process
from muniflow.images.limits import ImageLimits
from muniflow.model.messages import Task
from muniflow.model.topology import EVENTS, LOST, TASKS_EXCHANGE, dead_queue, step_queue, topology
from muniflow.runtime.settings import StoreSettings
from muniflow.transport.types import Delivery, OutgoingMessage
from muniflow.worker.consumer import BURST_S, FIRST_PREFETCH
from muniflow.worker.held import SUSPECT_AFTER
from muniflow.worker.settings import WorkerSettings, child_spec

IMAGES = 40


@pytest.fixture
def root(tmp_path):
    for number in range(IMAGES):
        write_source(tmp_path, f"{number}.png", picture(30, 20, number))
    return tmp_path


def tasks(*steps, images=IMAGES):
    return [task(f"{n}.png", *steps, image=n) for n in range(images)]


def stop_at(harness, count):
    """Drain once `count` images were settled."""

    def look():
        if len(harness.coverage) >= count:
            harness.worker.stop()

    harness.on_settled = look


def once_when(harness, condition, act):
    """Call `act` once, as soon as `condition` holds."""

    def look():
        if condition():
            act()
        else:
            harness.loop.call_later(0.01, look)

    look()


def test_a_worker_does_its_queue_and_drains_to_exit_code_0(root):
    harness = WorkerHarness(spec(root), ("smooth",))
    stop_at(harness, IMAGES)
    harness.run(published(tasks("smooth")))
    assert harness.exit_code == 0
    assert len(files(root / "output")) == IMAGES
    assert harness.broker.depths()[step_queue("smooth")] == 0
    assert harness.sample("muniflow_tasks_total", step="smooth", outcome="done") == IMAGES
    assert harness.sample("muniflow_step_pixels_total", step="smooth") == IMAGES * 30 * 20
    assert harness.sample("muniflow_tasks_held") == 0


def test_a_drain_hands_back_what_has_not_begun(root):
    harness = WorkerHarness(spec(root), ("nap",), WorkerSettings(group_tasks=2))
    stop_at(harness, 1)
    harness.run(published(tasks(("nap", {"seconds": 0.05}))))
    done = len(harness.coverage)
    assert 1 <= done < IMAGES
    assert len(files(root / "output")) == done
    assert harness.broker.depths()[step_queue("nap")] == IMAGES - done


@pytest.mark.parametrize(("settings", "seconds", "most"), [
    (WorkerSettings(group_tasks=2), 0.01, 2),
    (WorkerSettings(group_tasks=2, group_s=0.01), 0.02, 1),
], ids=["short tasks: one group behind the other", "long tasks: one group at a time"])  # fmt: skip
def test_a_busy_child_gets_a_whole_group_of_short_tasks_early(root, monkeypatch, settings, seconds, most):
    harness = WorkerHarness(spec(root), ("nap",), settings)
    sizes: list[list[int]] = []
    submit = harness.pool.submit

    def watched(tasks, on_done, *, early=False):
        submit(tasks, on_done, early=early)
        sizes.append(
            [len(assignment.tasks) for handle in harness.pool._handles.values() for assignment in handle.assignments]
        )

    monkeypatch.setattr(harness.pool, "submit", watched)
    stop_at(harness, IMAGES)
    harness.run(published(tasks(("nap", {"seconds": seconds, "width_px": 30}))))
    seen = [held for held in sizes if held]
    assert max(map(len, seen)) == most
    assert {held[1] for held in seen if len(held) == 2} <= {2}, "what is not full waits and may grow"


def test_large_images_after_small_ones_do_not_keep_one_child_for_long(root):
    """A group had as many of them as of the small ones, and told of none before its last."""
    large = 8
    settings = WorkerSettings(group_s=0.05, prefetch_min=IMAGES)
    limited = spec(root, group_stop_s=child_spec(settings, StoreSettings(), ImageLimits(), ("nap",)).group_stop_s)
    harness = WorkerHarness(limited, ("nap",), settings)
    told: list[int] = []
    """How many large ones were told of, after each message."""

    def look():
        told.append(sum(part.image < large for part in harness.settled))
        if len(harness.coverage) == IMAGES:
            harness.worker.stop()

    harness.on_settled = look
    small = tasks(("nap", {"seconds": 0.0}))[large:]
    harness.run(published([*small, *tasks(("nap", {"seconds": 0.2}), images=large)]))
    assert harness.exit_code == 0
    assert harness.sample("muniflow_tasks_total", step="nap", outcome="done") == IMAGES, "none was done twice"
    assert max(after - before for before, after in pairwise(told)) <= 2


def test_a_lost_connection_only_delays(root):
    harness = WorkerHarness(spec(root), ("smooth",), WorkerSettings(group_tasks=3))
    stop_at(harness, IMAGES)
    for count in (1, 10, 20, 30):
        once_when(
            harness, lambda count=count: len(harness.coverage) >= count, lambda: harness.broker.drop_connections("cut")
        )
    harness.run(published(tasks("smooth")))
    assert len(harness.coverage) == IMAGES
    assert harness.broker.depths()[step_queue("smooth")] == 0
    assert harness.sample("muniflow_connections_lost_total") >= 1


def test_results_of_a_lost_connection_are_dropped(root):
    harness = WorkerHarness(spec(root), ("nap",))
    stop_at(harness, 1)
    once_when(harness, lambda: harness.worker.consumer._running, lambda: harness.broker.drop_connections("cut"))
    harness.run(published(tasks(("nap", {"seconds": 0.3}), images=1)))
    # Delivered twice and computed twice, but told once.
    assert harness.sample("muniflow_tasks_total", step="nap", outcome="done") == 2
    assert len(harness.settled) == 1


def test_a_blocked_broker_only_delays(root):
    harness = WorkerHarness(spec(root), ("smooth",))
    stop_at(harness, IMAGES)
    waited = []

    def block():
        harness.broker.block("disk alarm")
        once_when(harness, lambda: harness.worker.consumer._running, lambda: harness.loop.call_later(0.2, unblock))

    def unblock():
        waited.append(len(harness.coverage))
        harness.broker.unblock()

    once_when(harness, lambda: harness.sample("muniflow_tasks_held"), block)
    harness.run(published(tasks("smooth")))
    assert waited == [0]
    assert len(harness.coverage) == IMAGES


NO_TASKS = [
    b"", b"\xff\xfe", b"[]", b'"task"', b"{}", b'{"v": 2}', b"null", b"[" * 10000,
    task("0.png", "smooth", step=7).to_bytes(),
    task("0.png", "half").to_bytes(),
    task("0.png", "smooth").model_copy(update={"route": ()}).to_bytes(),
]  # fmt: skip


def test_what_is_no_task_goes_to_the_dead_letters_and_harms_nobody(root):
    harness = WorkerHarness(spec(root), ("smooth",))
    images = len(NO_TASKS)
    stop_at(harness, images)
    good = published(tasks("smooth", images=images))
    bad = [OutgoingMessage(step_queue("smooth"), body, TASKS_EXCHANGE) for body in NO_TASKS]
    harness.run([message for pair in zip(bad, good, strict=True) for message in pair])
    assert harness.exit_code == 0
    assert len(files(root / "output")) == images
    assert harness.broker.depths()[dead_queue(step_queue("smooth"))] == len(NO_TASKS)
    assert harness.broker.depths()[LOST] == len(NO_TASKS)
    assert harness.sample("muniflow_malformed_messages_total", queue=step_queue("smooth")) == len(NO_TASKS)


def test_a_failure_is_settled_without_a_letter_and_does_not_stop_the_others(root):
    (root / "source/1.png").write_bytes(b"no image")
    harness = WorkerHarness(spec(root), ("smooth",))
    stop_at(harness, 4)
    harness.run(published(tasks("smooth", images=4)))
    reasons = {part.image: part.reason for part in harness.settled}
    assert [image for image, reason in reasons.items() if reason] == [1]
    assert harness.broker.depths()[dead_queue(step_queue("smooth"))] == 0


def test_a_store_that_is_away_is_retried_until_it_is_back(root):
    sources = root / "source"
    sources.rename(root / "elsewhere")
    harness = WorkerHarness(spec(root), ("smooth",))
    stop_at(harness, 5)

    def retried():
        return harness.sample("muniflow_tasks_total", step="smooth", outcome="retry")

    once_when(harness, lambda: retried() >= 5, lambda: (root / "elsewhere").rename(sources))
    harness.run(published(tasks("smooth", images=5)))
    assert [part.reason for part in harness.settled] == [None] * 5
    assert retried() >= 5


def test_a_group_that_cannot_be_published_is_published_again_and_acked_then(root):
    # Nobody has declared the queue of the next operation yet.
    harness = WorkerHarness(spec(root, operations=("half",)), ("half",))

    def all_published():
        return harness.broker.depths().get(step_queue("smooth")) == 3 and not harness.worker.consumer._running

    def problems():
        return harness.sample("muniflow_publish_problems_total")

    once_when(harness, lambda: problems() >= 1, lambda: harness.broker.declare(topology(["smooth"])))
    once_when(harness, all_published, harness.worker.stop)
    harness.run(published(tasks("half", "smooth", images=3)))
    assert problems() >= 1
    assert harness.broker.depths()[step_queue("half")] == 0
    assert harness.broker.depths()[step_queue("smooth")] == 3


def test_a_worker_with_several_operations_serves_all_their_queues(root):
    half_way = [process(first, context(root, only="half")).follow[0] for first in tasks("half", "smooth", images=5)]
    harness = WorkerHarness(spec(root), ("half", "smooth"))
    stop_at(harness, 10)
    others = [task(f"{n}.png", "half", "smooth", image=n, destination="two") for n in range(5, 10)]
    harness.run(published([*half_way, *others]))
    assert sorted(harness.coverage) == list(range(10))
    assert len(files(root / "output/two")) == len(files(root / "output/out")) == 5
    assert all(json.loads(Task.to_bytes(follow))["step"] == 1 for follow in half_way)


def test_a_step_package_that_is_broken_ends_the_worker_with_an_error(root):
    harness = WorkerHarness(spec(root, steps="tests.support.compute_steps:no_steps"), ("smooth",))
    harness.run(published(tasks("smooth", images=2)))
    assert harness.exit_code == 1
    assert harness.broker.depths()[step_queue("smooth")] == 2


def test_work_that_waits_while_the_only_child_is_started_again_is_not_forgotten(root):
    harness = WorkerHarness(spec(root), ("smooth",))
    stop_at(harness, 3)
    first, *rest = published(tasks("smooth", images=3))

    def kill_and_publish():
        os.kill(harness.pool.pids[0], signal.SIGKILL)
        once_when(harness, lambda: not harness.pool.pids, lambda: harness.coordinator.publish(rest, lambda _: None))

    once_when(harness, lambda: len(harness.coverage) == 1 and harness.pool.idle, kill_and_publish)
    harness.run([first])
    assert len(harness.coverage) == 3


def test_prefetch_is_adapted_to_what_tasks_take(root):
    harness = WorkerHarness(spec(root), ("smooth",))
    harness.worker.consumer._prefetches._changed_s = -100.0
    stop_at(harness, IMAGES)
    harness.run(published(tasks("smooth")))
    assert harness.sample("muniflow_prefetch", step="smooth") > FIRST_PREFETCH


def test_events_are_not_published_before_their_outputs_exist(root):
    harness = WorkerHarness(spec(root), ("smooth",))
    seen = []

    def look():
        seen.append({part.image for part in harness.settled} <= {int(k[4:-6]) for k in files(root / "output")})
        if len(harness.coverage) >= IMAGES:
            harness.worker.stop()

    harness.on_settled = look
    harness.run(published(tasks("smooth")))
    assert seen
    assert all(seen)
    assert EVENTS in harness.broker.depths()


def test_tasks_that_came_to_nothing_before_run_alone(root):
    """One of them may have taken its worker along; the others are not to share its end."""
    harness = WorkerHarness(spec(root), ("smooth",))
    stop_at(harness, 10)

    def deliver():
        for tag, suspect in enumerate(tasks("smooth", images=10)):
            headers = {"x-delivery-count": SUSPECT_AFTER}
            harness.worker.consumer._on_delivery(
                Delivery(
                    step_queue("smooth"), suspect.to_bytes(), tag, generation=-1, redelivered=True, headers=headers
                )
            )

    once_when(harness, lambda: harness.worker.transport.connected, deliver)
    harness.run([])
    assert harness.sample("muniflow_group_tasks_count") == 10
    assert harness.sample("muniflow_group_tasks_sum") == 10


def test_what_comes_in_one_burst_is_one_group(root):
    harness = WorkerHarness(spec(root), ("smooth",))
    stop_at(harness, 4)
    burst = [
        Delivery(step_queue("smooth"), each.to_bytes(), tag, generation=-1)
        for tag, each in enumerate(tasks("smooth", images=4))
    ]

    def deliver():
        take = harness.worker.consumer._on_delivery
        take(burst[0])
        take(burst[1])
        harness.loop.call_later(0.5 * BURST_S, lambda: take(burst[2]))
        harness.loop.call_later(1.5 * BURST_S, lambda: take(burst[3]))

    once_when(harness, lambda: harness.worker.transport.connected and harness.pool.idle, deliver)
    harness.run([])
    assert harness.sample("muniflow_group_tasks_count") == 1
    assert harness.sample("muniflow_group_tasks_sum") == 4
