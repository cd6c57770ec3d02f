"""Several batches on one machine: who ends when."""

import time
from dataclasses import replace
from math import inf
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.forecast_help import NAMES, load, stage

from muniflow.forecast.completion import finish_s
from muniflow.forecast.load import BatchLoad, Capacity
from muniflow.forecast.pipeline import BATCHES_LIMIT, simulated_s
from muniflow.forecast.work import Part, StageWork


class Ran(NamedTuple):
    """A batch that ran on two cores beside another: when it ended, and what its tasks spent."""

    took_s: float
    images: int
    mean_pixels: float
    spent: dict[str, tuple[float, float]]
    """CPU seconds of each stage, and tasks per image."""
    parts: tuple[tuple[float, float], ...] = ()
    """Images one after another, and milliseconds of one of them as they were forecast; none: all are alike."""


MIXED_SPLIT = ((289, 16.0), (326, 14.2), (275, 17.9), (293, 14.8), (354, 13.1), (203, 22.6), (302, 15.2), (215, 21.5))
GROWING_SPLIT = ((945, 5.9), (944, 5.9), (610, 9.1), (300, 18.4), (175, 31.9), (80, 68.6), (28, 211.1), (10, 512.0))
GROWING_FIVE = ((696, 10.6), (695, 10.6), (696, 10.6), (653, 11.3), (378, 19.5), (291, 25.3), (123, 62.6), (19, 369.1))
GROWING_BLUR = ((1057, 3.5), (1056, 3.5), (271, 13.7), (264, 14.1), (70, 53.3), (66, 56.3), (11, 361.5), (8, 429.3))
GROWING_RESIZE = ((644, 4.5), (643, 4.5), (643, 4.5), (260, 11.2), (236, 12.4), (76, 38.2), (41, 73.2), (10, 276.8))

MEASURED = {
    "resize-split-blur, and split-blur": (
        Ran(20.4, 1200, 1.05e6, {"resize": (8.80, 1.0), "split": (0.43, 1.0), "blur": (4.47, 1.0)}),
        Ran(31.0, 2257, 0.79e6, {"split": (13.67, 1.0), "blur": (18.16, 1.14)}, MIXED_SPLIT),
    ),
    "resize-split-blur, and split-blur of small images before large ones": (
        Ran(19.5, 1542, 0.80e6, {"resize": (10.09, 1.0), "split": (0.45, 1.0), "blur": (3.50, 1.02)}),
        Ran(37.7, 3092, 0.79e6, {"split": (19.49, 1.0), "blur": (24.58, 1.16)}, GROWING_SPLIT),
    ),
    "five steps of small images before large ones, and resize-split-blur": (
        Ran(55.6, 3551, 0.79e6, {"resize": (22.94, 1.0), "split": (4.50, 2.02), "blur": (38.32, 2.07)}, GROWING_FIVE),
        Ran(16.9, 1156, 1.05e6, {"resize": (9.07, 1.0), "split": (0.42, 1.0), "blur": (4.01, 1.0)}),
    ),
    "split-blur, and blur of small images before large ones": (
        Ran(17.9, 1452, 0.79e6, {"split": (9.80, 1.0), "blur": (14.46, 1.16)}),
        Ran(48.1, 2803, 0.79e6, {"blur": (30.22, 1.0)}, GROWING_BLUR),
    ),
    "resize-split-blur of small images before large ones, and split-blur": (
        Ran(32.1, 2553, 0.80e6, {"resize": (15.78, 1.0), "split": (1.01, 1.0), "blur": (7.75, 1.02)}, GROWING_RESIZE),
        Ran(29.2, 1200, 1.05e6, {"split": (10.86, 1.0), "blur": (13.92, 1.0)}),
    ),
    "blur, and five steps": (
        Ran(25.9, 1003, 1.05e6, {"blur": (13.50, 1.0)}),
        Ran(45.7, 2634, 0.79e6, {"resize": (15.01, 1.0), "split": (3.21, 2.02), "blur": (25.76, 2.06)}),
    ),
    "split-blur, and blur of mixed sizes": (
        Ran(22.7, 1200, 1.05e6, {"split": (11.18, 1.0), "blur": (17.17, 1.0)}),
        Ran(68.3, 3766, 0.79e6, {"blur": (47.72, 1.0)}),
    ),
}
"""The first one was accepted first, and so is due first."""


def load_of(ran, number):
    stages = {
        name: StageWork(spent_s, spent_s / ran.images, tasks, 0.02) for name, (spent_s, tasks) in ran.spent.items()
    }
    parts = tuple(Part(images, each_ms / 1e3) for images, each_ms in ran.parts)
    return BatchLoad(f"{number}", ran.images, stages, due_at=float(number), mean_pixels=ran.mean_pixels, parts=parts)


@pytest.mark.parametrize("name", MEASURED)
def test_from_the_cpu_time_of_their_tasks_follows_when_two_batches_ended(name):
    """Dealt as turns alone, they were up to 35% off: windows and queues decide who has how much of a stage."""
    loads = [load_of(ran, number) for number, ran in enumerate(MEASURED[name])]
    found = finish_s(loads, one_each(), 2.0)
    for ran, one in zip(MEASURED[name], loads, strict=True):
        assert found[one.batch] == pytest.approx(ran.took_s, rel=0.14)


def one_each(children=1):
    return [Capacity(stage(name, children=children), 1) for name in NAMES]


def test_the_last_of_several_batches_ends_when_the_fluid_model_says():
    both = [load("a", resize=0.01, blur=0.01), load("b", images=3_000, resize=0.01)]
    together = load("both", images=4_000, resize=0.01, blur=0.0025)
    assert max(finish_s(both, one_each(), 2.0).values()) == pytest.approx(
        finish_s([together], one_each(), 2.0)["both"], rel=0.05
    )


def test_small_images_before_large_ones_hold_another_batch_up_less():
    other = load("other", images=500, blur=0.01, due_at=2.0)
    growing = load("growing", images=2_000, blur=0.01, due_at=1.0)
    parts = Part(1_900, 0.001), Part(100, 0.181)
    first_small = replace(growing, parts=parts)
    mean_s = simulated_s([growing, other], one_each(), 2.0)["other"]
    assert simulated_s([first_small, other], one_each(), 2.0)["other"] < 0.7 * mean_s


@pytest.mark.parametrize("each_s", [0.02, 0.1, 0.4])
def test_an_express_batch_takes_three_quarters_of_a_stage(each_s):
    large = load("large", images=5_000, resize=0.01)
    small = load("small", images=60, resize=each_s, express=True)
    found = simulated_s([large, small], one_each(), 9.0)["small"]
    assert found == pytest.approx(60 * each_s / 0.75, rel=0.05, abs=0.3)


def test_replicas_that_start_take_part_once_they_run():
    loads = [load("a", resize=0.01), load("b", resize=0.01)]
    starting = [Capacity(stage("resize"), 0, 1, starts_in_s=5.0)]
    running = [Capacity(stage("resize"), 1)]
    waited = {name: end_s - 5 for name, end_s in simulated_s(loads, starting, 2.0).items()}
    assert waited == pytest.approx(simulated_s(loads, running, 2.0), abs=0.5)


SECONDS = st.floats(1e-4, 2)
LOADS = st.lists(
    st.builds(
        load,
        images=st.integers(1, 100_000).map(float),
        resize=SECONDS,
        blur=SECONDS,
        weight=st.integers(1, 5).map(float),
        priority=st.sampled_from(["low", "normal", "high"]),
        owner=st.sampled_from(["a", "b"]),
        due_at=st.sampled_from([inf, 1.0, 2.0]),
        express=st.booleans(),
        parts=st.sampled_from([(), (Part(3.0, 0.1), Part(1.0, 5.0))]),
    ),
    min_size=2,
    max_size=5,
).map(lambda loads: [replace(one, batch=f"{number}") for number, one in enumerate(loads)])


@given(LOADS, st.integers(1, 8), st.floats(0.5, 16))
def test_all_batches_end_and_no_core_is_used_twice(loads, children, cores):
    found = simulated_s(loads, one_each(children), cores)
    assert all(0 < end_s < inf for end_s in found.values())
    work_s = sum(work.work_s for one in loads for work in one.stages.values())
    assert max(found.values()) >= work_s / cores * 0.98
    alone_s = sum(simulated_s([one], one_each(children), cores)[one.batch] for one in loads)
    assert max(found.values()) <= 1.1 * alone_s + len(loads)


@pytest.mark.parametrize("images", [150, 1_000, 20_000])
def test_equal_batches_end_at_about_the_same_time(images):
    found = simulated_s([load(name, images=images, resize=0.01) for name in ("a", "b", "c")], one_each(), 2.0)
    assert max(found.values()) - min(found.values()) < 0.02 * max(found.values()) + 0.3


def test_a_batch_that_joins_waits_behind_what_is_in_flight():
    running, joins = load("running", images=5_000, resize=0.02), load("joins", images=10, resize=0.02)
    at_once = simulated_s([running, joins], one_each(), 2.0)["joins"]
    later = simulated_s([replace(running, in_flight=200.0), joins], one_each(), 2.0)["joins"]
    assert later == pytest.approx(at_once + 200 * 0.02, rel=0.1)


def test_a_lower_priority_has_little_in_flight_beside_a_higher_one():
    def ends(priority):
        other = load("other", images=2_000, resize=0.01, priority=priority)
        return simulated_s([load("one", images=2_000, resize=0.01), other], one_each(), 2.0)["one"]

    low, equal, high = ends("low"), ends("normal"), ends("high")
    assert low == pytest.approx(20, rel=0.15)
    assert equal == pytest.approx(40, rel=0.1)
    assert high == pytest.approx(40, rel=0.1)


def test_a_lower_priority_holds_little_also_where_the_window_of_the_higher_one_is_full():
    """As in the coordinator: a batch with images to dispatch counts, whether or not its window has room."""

    def end_s(priority):
        slow = load("slow", images=2_000, split=0.02, priority=priority)
        return simulated_s([slow, load("quick", images=2_000, resize=0.001, blur=0.005)], one_each(), 9.0)["quick"]

    # A twentieth of its window is nearly enough for a batch that nothing else holds up.
    assert end_s("high") > 1.05 * end_s("normal")


def test_many_batches_are_not_simulated():
    many = [load(f"{number}", resize=0.01, due_at=number) for number in range(BATCHES_LIMIT + 1)]
    found = list(finish_s(many, one_each(), 2.0).values())
    # As the fluid model deals turns: each second one goes to the batch that is due first.
    assert found == sorted(found)
    assert found[-1] > 1.5 * found[0]


@pytest.mark.parametrize(("batches", "images"), [(2, 3_000), (2, 1_000_000), (BATCHES_LIMIT, 1_000)])
def test_it_takes_some_ten_milliseconds(batches, images):
    loads = [load(f"{number}", images=images, resize=0.01, blur=0.02, due_at=number) for number in range(batches)]
    best_s = inf
    for _ in range(3):
        began_s = time.process_time()
        simulated_s(loads, one_each(), 2.0)
        best_s = min(best_s, time.process_time() - began_s)
    assert best_s < 0.2  # 10 to 20 ms on a quiet machine
