"""A whole worker over the in-memory broker: nothing is lost, nothing is acked too early, nothing crashes it."""

import json
import os
import signal

import pytest
from tests.support.compute_help import context, files, picture, spec, task, write_source
from tests.support.worker_help import World, published

from muniflow.compute.process import process
from muniflow.messages import Task
from muniflow.topology import EVENTS, LOST, dead_queue, step_queue, topology
from muniflow.transport.types import Delivery, OutgoingMessage
from muniflow.worker.consumer import BURST_S, FIRST_PREFETCH, SUSPECT_AFTER
from muniflow.worker.settings import WorkerSettings

IMAGES = 40


@pytest.fixture
def root(tmp_path):
    for number in range(IMAGES):
        write_source(tmp_path, f"{number}.png", picture(30, 20, number))
    return tmp_path


def tasks(*steps, images=IMAGES):
    return [task(f"{n}.png", *steps, image=n) for n in range(images)]


def stop_at(world, count):
    """Drain once `count` images were settled."""

    def look():
        if len(world.coverage) >= count:
            world.worker.stop()

    world.on_settled = look


def once_when(world, condition, act):
    """Call `act` once, as soon as `condition` holds."""

    def look():
        if condition():
            act()
        else:
            world.loop.call_later(0.01, look)

    look()


def test_a_worker_does_its_queue_and_drains_to_exit_code_0(root):
    world = World(spec(root), ("smooth",))
    stop_at(world, IMAGES)
    world.run(published(tasks("smooth")))
    assert world.exit_code == 0
    assert len(files(root / "output")) == IMAGES
    assert world.broker.depths()[step_queue("smooth")] == 0
    assert world.sample("muniflow_tasks_total", step="smooth", outcome="done") == IMAGES
    assert world.sample("muniflow_step_pixels_total", step="smooth") == IMAGES * 30 * 20
    assert world.sample("muniflow_tasks_held") == 0


def test_a_drain_hands_back_what_has_not_begun(root):
    world = World(spec(root), ("nap",), WorkerSettings(group_tasks=2))
    stop_at(world, 1)
    world.run(published(tasks(("nap", {"seconds": 0.05}))))
    done = len(world.coverage)
    assert 1 <= done < IMAGES
    assert len(files(root / "output")) == done
    assert world.broker.depths()[step_queue("nap")] == IMAGES - done


@pytest.mark.parametrize(("settings", "seconds", "most"), [
    (WorkerSettings(group_tasks=2), 0.01, 2),
    (WorkerSettings(group_tasks=2, group_s=0.01), 0.02, 1),
], ids=["short tasks: one group behind the other", "long tasks: one group at a time"])  # fmt: skip
def test_a_busy_child_gets_a_whole_group_of_short_tasks_early(root, monkeypatch, settings, seconds, most):
    world = World(spec(root), ("nap",), settings)
    sizes: list[list[int]] = []
    submit = world.worker.pool.submit

    def watched(jobs, on_done, *, early=False):
        submit(jobs, on_done, early=early)
        sizes.append([len(hand.jobs) for peer in world.worker.pool._peers.values() for hand in peer.hands])

    monkeypatch.setattr(world.worker.pool, "submit", watched)
    stop_at(world, IMAGES)
    world.run(published(tasks(("nap", {"seconds": seconds, "width_px": 30}))))
    seen = [held for held in sizes if held]
    assert max(map(len, seen)) == most
    assert {held[1] for held in seen if len(held) == 2} <= {2}, "what is not full waits and may grow"


def test_a_lost_connection_only_delays(root):
    world = World(spec(root), ("smooth",), WorkerSettings(group_tasks=3))
    stop_at(world, IMAGES)
    for count in (1, 10, 20, 30):
        once_when(world, lambda count=count: len(world.coverage) >= count, lambda: world.broker.drop_connections("cut"))
    world.run(published(tasks("smooth")))
    assert len(world.coverage) == IMAGES
    assert world.broker.depths()[step_queue("smooth")] == 0
    assert world.sample("muniflow_connections_lost_total") >= 1


def test_results_of_a_lost_connection_are_dropped(root):
    world = World(spec(root), ("nap",))
    stop_at(world, 1)
    once_when(world, lambda: world.worker.consumer._running, lambda: world.broker.drop_connections("cut"))
    world.run(published(tasks(("nap", {"seconds": 0.3}), images=1)))
    # Delivered twice and computed twice, but told once.
    assert world.sample("muniflow_tasks_total", step="nap", outcome="done") == 2
    assert len(world.settled) == 1


def test_a_blocked_broker_only_delays(root):
    world = World(spec(root), ("smooth",))
    stop_at(world, IMAGES)
    waited = []

    def block():
        world.broker.block("disk alarm")
        once_when(world, lambda: world.worker.consumer._running, lambda: world.loop.call_later(0.2, unblock))

    def unblock():
        waited.append(len(world.coverage))
        world.broker.unblock()

    once_when(world, lambda: world.sample("muniflow_tasks_held"), block)
    world.run(published(tasks("smooth")))
    assert waited == [0]
    assert len(world.coverage) == IMAGES


@pytest.mark.parametrize(
    "body",
    [
        b"", b"\xff\xfe", b"[]", b'"task"', b"{}", b'{"v": 2}', b"null", b"[" * 10000,
        task("0.png", "smooth", step=7).to_bytes(),
        task("0.png", "half").to_bytes(),
        task("0.png", "smooth").model_copy(update={"route": ()}).to_bytes(),
    ],
)  # fmt: skip
def test_what_is_no_task_goes_to_the_dead_letters_and_harms_nobody(root, body):
    world = World(spec(root), ("smooth",))
    stop_at(world, 3)
    world.run([OutgoingMessage(step_queue("smooth"), body), *published(tasks("smooth", images=3))])
    assert world.exit_code == 0
    assert len(files(root / "output")) == 3
    assert world.broker.depths()[dead_queue(step_queue("smooth"))] == 1
    assert world.broker.depths()[LOST] == 1
    assert world.sample("muniflow_malformed_messages_total", queue=step_queue("smooth")) == 1


def test_a_failure_is_settled_kept_and_does_not_stop_the_others(root):
    (root / "source/1.png").write_bytes(b"no image")
    world = World(spec(root), ("smooth",))
    stop_at(world, 4)
    world.run(published(tasks("smooth", images=4)))
    reasons = {part.image: part.reason for part in world.settled}
    assert [image for image, reason in reasons.items() if reason] == [1]
    assert world.broker.depths()[dead_queue(step_queue("smooth"))] == 1


def test_a_store_that_is_away_is_retried_until_it_is_back(root):
    sources = root / "source"
    sources.rename(root / "elsewhere")
    world = World(spec(root), ("smooth",))
    stop_at(world, 5)

    def retried():
        return world.sample("muniflow_tasks_total", step="smooth", outcome="retry")

    once_when(world, lambda: retried() >= 5, lambda: (root / "elsewhere").rename(sources))
    world.run(published(tasks("smooth", images=5)))
    assert [part.reason for part in world.settled] == [None] * 5
    assert retried() >= 5


def test_a_group_that_cannot_be_published_is_published_again_and_acked_then(root):
    # Nobody has declared the queue of the next operation yet.
    world = World(spec(root, operations=("half",)), ("half",))

    def all_published():
        return world.broker.depths().get(step_queue("smooth")) == 3 and not world.worker.consumer._running

    def problems():
        return world.sample("muniflow_publish_problems_total")

    once_when(world, lambda: problems() >= 1, lambda: world.broker.declare(topology(["smooth"])))
    once_when(world, all_published, world.worker.stop)
    world.run(published(tasks("half", "smooth", images=3)))
    assert problems() >= 1
    assert world.broker.depths()[step_queue("half")] == 0
    assert world.broker.depths()[step_queue("smooth")] == 3


def test_a_worker_with_several_operations_serves_all_their_queues(root):
    half_way = [process(first, context(root, only="half")).follow[0] for first in tasks("half", "smooth", images=5)]
    world = World(spec(root), ("half", "smooth"))
    stop_at(world, 10)
    others = [task(f"{n}.png", "half", "smooth", image=n, destination="two") for n in range(5, 10)]
    world.run(published([*half_way, *others]))
    assert sorted(world.coverage) == list(range(10))
    assert len(files(root / "output/two")) == len(files(root / "output/out")) == 5
    assert all(json.loads(Task.to_bytes(follow))["step"] == 1 for follow in half_way)


def test_a_step_package_that_is_broken_ends_the_worker_with_an_error(root):
    world = World(spec(root, steps="tests.support.compute_steps:no_steps"), ("smooth",))
    world.run(published(tasks("smooth", images=2)))
    assert world.exit_code == 1
    assert world.broker.depths()[step_queue("smooth")] == 2


def test_work_that_waits_while_the_only_child_is_started_again_is_not_forgotten(root):
    world = World(spec(root), ("smooth",))
    stop_at(world, 3)
    first, *rest = published(tasks("smooth", images=3))

    def kill_and_publish():
        os.kill(world.worker.pool.pids[0], signal.SIGKILL)
        once_when(world, lambda: not world.worker.pool.pids, lambda: world.coordinator.publish(rest, lambda _: None))

    once_when(world, lambda: len(world.coverage) == 1 and world.worker.pool.idle, kill_and_publish)
    world.run([first])
    assert len(world.coverage) == 3


def test_prefetch_is_adapted_to_what_tasks_take(root):
    world = World(spec(root), ("smooth",))
    world.worker.consumer._prefetch_changed_s = -100.0
    stop_at(world, IMAGES)
    world.run(published(tasks("smooth")))
    assert world.sample("muniflow_prefetch", step="smooth") > FIRST_PREFETCH


def test_events_are_not_published_before_their_outputs_exist(root):
    world = World(spec(root), ("smooth",))
    seen = []

    def look():
        seen.append({part.image for part in world.settled} <= {int(k[4:-6]) for k in files(root / "output")})
        if len(world.coverage) >= IMAGES:
            world.worker.stop()

    world.on_settled = look
    world.run(published(tasks("smooth")))
    assert seen
    assert all(seen)
    assert EVENTS in world.broker.depths()


def test_tasks_that_came_to_nothing_before_run_alone(root):
    """One of them may have taken its worker along; the others are not to share its end."""
    world = World(spec(root), ("smooth",))
    stop_at(world, 10)

    def deliver():
        for tag, suspect in enumerate(tasks("smooth", images=10)):
            headers = {"x-delivery-count": SUSPECT_AFTER}
            world.worker.consumer._on_delivery(
                Delivery(
                    step_queue("smooth"), suspect.to_bytes(), tag, generation=-1, redelivered=True, headers=headers
                )
            )

    once_when(world, lambda: world.worker.transport.connected, deliver)
    world.run([])
    assert world.sample("muniflow_group_tasks_count") == 10
    assert world.sample("muniflow_group_tasks_sum") == 10


def test_what_comes_in_one_burst_is_one_group(root):
    world = World(spec(root), ("smooth",))
    stop_at(world, 4)
    burst = [
        Delivery(step_queue("smooth"), each.to_bytes(), tag, generation=-1)
        for tag, each in enumerate(tasks("smooth", images=4))
    ]

    def deliver():
        take = world.worker.consumer._on_delivery
        take(burst[0])
        take(burst[1])
        world.loop.call_later(0.5 * BURST_S, lambda: take(burst[2]))
        world.loop.call_later(1.5 * BURST_S, lambda: take(burst[3]))

    once_when(world, lambda: world.worker.transport.connected and world.worker.pool.idle, deliver)
    world.run([])
    assert world.sample("muniflow_group_tasks_count") == 1
    assert world.sample("muniflow_group_tasks_sum") == 4
