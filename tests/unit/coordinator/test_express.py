"""The express lane of the coordinator: who takes it, when, and that the others go on."""

from collections import Counter, deque
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniflow.model.topology import all_delays_s, delay_exchange, express_queue, step_queue
from muniflow.runtime.clock import SYSTEM_CLOCK
from muniflow.testing.inline import InlineRepeater
from muniflow.testing.virtual_time import VirtualClock, VirtualLoop
from muniflow_coordinator.api.stages import QueueDepth, Stages
from muniflow_coordinator.runs.rates import StepRates
from muniflow_coordinator.runs.scheduler import EXPRESS_TURNS, Scheduler
from muniflow_coordinator.runs.turns import Standing

if TYPE_CHECKING:
    from tests.unit.coordinator.conftest import CoordinatorHarness

LARGE, FIRST_SMALL = 0, 1


# Turns


def test_express_images_come_first_and_go_a_little_over_a_full_window() -> None:
    scheduler = Scheduler(window_images=100, window_total=8, express_extra=3)
    scheduler.add(LARGE, Standing())
    assert [scheduler.take() for _ in range(9)] == [LARGE] * 8 + [None]
    scheduler.add(FIRST_SMALL, Standing(express=True))
    assert [scheduler.take() for _ in range(4)] == [FIRST_SMALL] * 3 + [None]
    scheduler.release(LARGE)
    assert [scheduler.take() for _ in range(2)] == [FIRST_SMALL, None]
    assert scheduler.total_in_flight == 11


@given(small=st.integers(1, 12), in_flight=st.integers(1, 12), extra=st.integers(0, 6), total=st.integers(1, 8))
def test_a_stream_of_express_batches_leaves_the_others_an_eighth(
    small: int, in_flight: int, extra: int, total: int
) -> None:
    """Every image that is settled is followed by another one of the same batch."""
    scheduler = Scheduler(window_images=100, window_total=total, express_extra=extra)
    scheduler.add(LARGE, Standing())
    for batch in range(FIRST_SMALL, FIRST_SMALL + small):
        scheduler.add(batch, Standing(express=True))
    flying: deque[int] = deque()
    turns: list[int] = []
    rounds = 40 * (small + EXPRESS_TURNS)
    while len(turns) < rounds:
        taken = scheduler.take() if len(flying) < in_flight else None
        if taken is None:
            scheduler.release(flying.popleft())
            continue
        flying.append(taken)
        turns.append(taken)
        assert scheduler.total_in_flight <= total + extra
    counted = Counter(turns)
    assert counted[LARGE] >= rounds // (EXPRESS_TURNS + 1) - 1
    express = [counted[batch] for batch in range(FIRST_SMALL, FIRST_SMALL + small)]
    assert max(express) - min(express) <= 1, "express batches share their turns"


# Queues


@pytest.mark.parametrize(("images", "limit", "taken", "express"), [
    (5, 5, {"copy", "paste"}, True),
    (6, 5, {"copy", "paste"}, False),
    (1, 0, {"copy", "paste"}, False),
    (5, 5, {"copy"}, False),
], ids=["small", "too large", "switched off", "workers of an earlier build at the second step"])  # fmt: skip
def test_the_lane_of_a_batch(
    harness: "CoordinatorHarness", images: int, limit: int, taken: set[str], express: bool
) -> None:
    harness.pictures(images)
    harness.express |= taken
    harness.hold = True
    harness.start(express_images=limit)
    harness.submit(operations=[["copy", 1], ["paste", 1]])
    harness.until(lambda: len(harness.held) == images)
    queue = express_queue("copy") if express else step_queue("copy")
    assert {delivery.queue for delivery in harness.held} == {queue}
    harness.let_go()
    assert harness.finish().done == images


def test_a_small_batch_is_dispatched_while_a_large_one_fills_the_window(harness: "CoordinatorHarness") -> None:
    harness.pictures(30)
    harness.pictures(3, "small")
    harness.express.add("copy")
    harness.hold = True
    harness.start(express_images=4, window_images=10, window_total=10)
    harness.submit()
    harness.until(lambda: len(harness.held) == 10)
    harness.submit(batch_id="small", source="small")
    harness.until(lambda: len(harness.held) == 13)
    assert [delivery.queue for delivery in harness.held[10:]] == [express_queue("copy")] * 3
    harness.let_go()
    assert (harness.finish("small").done, harness.finish().done) == (3, 30)


# Depths


def stages(**depths: QueueDepth) -> Stages:
    """Stages that have read these depths of the queues of `copy`."""
    names = {"normal": step_queue("copy"), "express": express_queue("copy")}
    read: Mapping[str, QueueDepth] = {names[name]: depth for name, depth in depths.items()}
    read = {**{delay_exchange(delay_s): QueueDepth(0, 0, 0) for delay_s in all_delays_s()}, **read}
    idle = InlineRepeater(VirtualLoop(VirtualClock()))
    known = read.keys()
    made = Stages(
        ("copy",),
        StepRates(SYSTEM_CLOCK),
        lambda asked: {name: read[name] for name in known & asked},
        idle,
        {"copy": 7}.get,
    )
    made.poll()
    return made


def test_a_worker_that_changes_its_prefetch_is_one_replica():
    counts = iter([1, 2, 1, 0, 2, 2])
    made = Stages(
        ("copy",),
        StepRates(SYSTEM_CLOCK),
        lambda asked: dict.fromkeys(asked, QueueDepth(0, 0, next(counts))),
        InlineRepeater(VirtualLoop(VirtualClock())),
        {"copy": 7}.get,
    )
    seen = []
    for _ in range(6):
        made.poll()
        seen.append(made.replicas("copy"))
    assert seen == [1, 1, 1, 0, 2, 2]


def test_a_consumer_that_is_gone_and_has_deliveries_to_settle_is_no_replica() -> None:
    assert stages(normal=QueueDepth(5, 12, 3), express=QueueDepth(0, 0, 1)).replicas("copy") == 1
    assert stages(normal=QueueDepth(0, 0, 1), express=QueueDepth(0, 9, 2)).replicas("copy") == 1
    assert stages(normal=QueueDepth(0, 0, 2), express=QueueDepth(0, 0, 0)).replicas("copy") == 2, "of an earlier build"
    assert stages(normal=QueueDepth(0, 0, 0), express=QueueDepth(0, 0, 1)).consumers("copy") == 0


def test_the_backlog_of_a_stage_is_that_of_both_queues() -> None:
    made = stages(normal=QueueDepth(5, 2, 3), express=QueueDepth(4, 1, 3))
    (stage,) = made.answer()
    assert (stage.queue, stage.ready, stage.unacked, stage.consumers, stage.dead) == (step_queue("copy"), 9, 3, 3, 7)
    assert (made.takes_express("copy"), made.no_task_waits("copy")) == (True, False)


EMPTY = QueueDepth(0, 0, 1)


@pytest.mark.parametrize(("normal", "express", "takes", "none_waits"), [
    (EMPTY, EMPTY, True, True),
    (EMPTY, QueueDepth(1, 0, 1), True, False),
    (EMPTY, QueueDepth(0, 1, 0), False, False),
    (EMPTY, QueueDepth(9, 0, 0), False, False),
    (EMPTY, QueueDepth(0, None, 1), True, True),
], ids=["empty", "waits", "in hands", "an earlier build took over", "over AMQP"])  # fmt: skip
def test_whether_express_tasks_are_taken_and_whether_any_task_waits(
    normal: QueueDepth, express: QueueDepth, takes: bool, none_waits: bool
) -> None:
    made = stages(normal=normal, express=express)
    assert (made.takes_express("copy"), made.no_task_waits("copy")) == (takes, none_waits)


def test_what_is_not_known_is_not_taken() -> None:
    made = stages(normal=EMPTY)
    assert (made.takes_express("copy"), made.no_task_waits("copy")) == (False, False)
