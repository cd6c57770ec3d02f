"""Stages that share the cores of one machine."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.forecast_help import NAMES, load, stage

from muniflow.forecast.completion import finish_s
from muniflow.forecast.load import BatchLoad, Capacity
from muniflow.forecast.shared_cores import HANDOVER_S, TASK_S, free_cores
from muniflow.forecast.stage import EFFICIENCY
from muniflow.forecast.work import StageWork


def end_s(one, cores=2.0, **replicas):
    return finish_s([one], [Capacity(stage(name), count) for name, count in replicas.items()], cores)["b"]


MEASURED = {
    "small, then large, blur": (9.0, 745, {"blur": (8.57, 745)}),
    "512 px, blur": (7.8, 1600, {"blur": (7.13, 1600)}),
    "mixed, resize-split-blur": (11.2, 1585, {"resize": (9.09, 1585), "split": (0.54, 1585), "blur": (5.66, 1615)}),
    "small, then large, split-blur": (16.5, 1504, {"split": (10.28, 1504), "blur": (14.61, 1744)}),
    "512 px, split-blur": (6.1, 1600, {"split": (3.8, 1600), "blur": (5.04, 1600)}),
    "512 px, five-steps": (12.4, 1600, {"resize": (3.54, 1600), "split": (1.63, 3200), "blur": (10.04, 3200)}),
    "1024 px, five-steps": (8.8, 600, {"resize": (4.44, 600), "split": (0.74, 1200), "blur": (6.92, 1200)}),
}
"""Batches that ran on two cores: seconds until the end, images, and CPU time and tasks of each stage's one child."""


@pytest.mark.parametrize("name", MEASURED)
def test_from_the_cpu_time_of_its_tasks_follows_when_a_batch_ended(name):
    took_s, images, spent = MEASURED[name]
    stages = {key: StageWork(cpu_s, cpu_s / images, tasks / images, 0.02) for key, (cpu_s, tasks) in spent.items()}
    found_s = end_s(BatchLoad("b", images, stages), resize=1, split=1, blur=1)
    assert found_s == pytest.approx(took_s, rel=0.07)


def test_where_no_stage_is_a_limit_the_cores_are_one():
    work_s = 1_000 * (0.3 + 3 * TASK_S)
    assert end_s(load(resize=0.1, split=0.1, blur=0.1), resize=9, split=9, blur=9) == pytest.approx(
        work_s / free_cores(2), rel=0.01
    )


def test_where_the_cores_are_no_limit_a_child_is_never_idle():
    one = load(images=10_000, resize=0.001)
    assert end_s(one, cores=None, resize=1) == pytest.approx(10 / EFFICIENCY, rel=0.01)
    assert end_s(one, cores=16, resize=1) == pytest.approx(10_000 * (0.001 + HANDOVER_S), rel=0.01)


def test_messages_take_their_part_of_shared_cores():
    small, own = load(images=10_000, resize=0.001, split=0.001, blur=0.001), {"resize": 9, "split": 9, "blur": 9}
    assert end_s(small, cores=None, **own) < 2
    assert end_s(small, **own) == pytest.approx(10_000 * 0.003 / free_cores(2) * (1 + TASK_S / 0.001), rel=0.02)


def test_large_images_that_are_left_count_as_few_tasks():
    """Small images before large ones: most of the work is left, and few tasks."""
    left = replace(load(images=1_000, resize=0.1), images=10.0)
    assert end_s(left, cores=16, resize=1) == pytest.approx(100 + 10 * HANDOVER_S, rel=0.002)


SECONDS = st.floats(0.001, 5)
COUNTS = st.integers(1, 9)


@given(st.tuples(SECONDS, SECONDS, SECONDS), st.tuples(COUNTS, COUNTS, COUNTS), st.integers(0, 2), st.integers(1, 64))
def test_more_replicas_or_cores_never_end_later(seconds, counts, grown, cores):
    one = load(**dict(zip(NAMES, seconds, strict=True)))
    replicas = dict(zip(NAMES, counts, strict=True))
    more = {**replicas, NAMES[grown]: counts[grown] + 1}
    before_s = end_s(one, cores, **replicas)
    # But for the last task, which one of more children may still be at.
    assert end_s(one, cores, **more) <= before_s * (1 + 1e-9) + seconds[grown]
    assert end_s(one, cores + 1, **replicas) <= before_s * (1 + 1e-9)
    assert before_s >= sum(seconds) * 1_000 / cores


def test_a_core_or_part_of_one_is_never_used_up_beside_the_tasks():
    assert free_cores(None) == float("inf")
    assert [free_cores(cores) for cores in (2.0, 0.2)] == [pytest.approx(1.85), 0.1]
