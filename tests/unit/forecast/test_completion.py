"""When batches end."""

import heapq
import random
import time
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.forecast_help import NAMES, load, stage

from muniflow.forecast.completion import BATCH_S, finish_s
from muniflow.forecast.load import BatchLoad, Capacity
from muniflow.forecast.shared_cores import free_cores
from muniflow.forecast.stage import EFFICIENCY
from muniflow.forecast.work import StageWork


def fleet(starting=False, start_s=15.0, **replicas):
    return [
        Capacity(stage(name, start_s=start_s), 0 if starting else count, count if starting else 0)
        for name, count in replicas.items()
    ]


def ends(loads, capacities, cores=None):
    return finish_s(loads, capacities, cores)


def test_the_bottleneck_sets_the_pace():
    found = ends([load(resize=0.1, split=0.01, blur=0.3)], fleet(resize=2, split=1, blur=3))
    assert found["b"] == pytest.approx(1_000 * 0.1 / EFFICIENCY, rel=0.01)


def test_replicas_that_start_are_waited_for():
    one = load(resize=0.1)
    running = ends([one], fleet(resize=2))["b"]
    assert ends([one], fleet(starting=True, start_s=40, resize=2))["b"] == pytest.approx(running + 40)
    soon = ends([one], [Capacity(stage("resize", start_s=40), 0, 2, starts_in_s=5)])["b"]
    assert soon == pytest.approx(running + 5)
    mixed = ends([one], [Capacity(stage("resize", start_s=20), 1, 1)])["b"]
    assert mixed == pytest.approx(running + 10, rel=0.01)


def test_a_batch_of_one_image_takes_its_way_through_all_stages():
    (found,) = ends([load(images=1, resize=0.1, split=0.2, blur=0.4)], fleet(resize=5, split=5, blur=5)).values()
    assert found == pytest.approx(0.7 + BATCH_S, abs=0.1)


def test_no_replica_is_no_end_and_no_work_is_the_end():
    assert ends([load(resize=0.1, blur=0.1)], fleet(resize=1))["b"] == inf
    assert ends([load(resize=0.1, blur=0.1)], fleet(resize=1, blur=0))["b"] == inf
    assert ends([load(resize=0.1, blur=0.0)], fleet(resize=1)) == ends([load(resize=0.1)], fleet(resize=1))
    assert ends([load(resize=0.0), load("empty", images=0, resize=0.1)], fleet(resize=1)) == {"b": 0, "empty": 0}


@pytest.mark.parametrize(("fields", "first_s", "second_s"), [
    ({}, 200, 200),
    ({"weight": 3}, 100 * 4 / 3, 200),
    ({"priority": "high"}, 100 / 0.95, 200),
    ({"priority": "low"}, 200, 100 / 0.95),
    ({"owner": "other"}, 200, 200),
])  # fmt: skip
def test_two_batches_take_turns(fields, first_s, second_s):
    found = ends([load(resize=0.1, **fields), load("second", resize=0.1)], fleet(resize=1))
    assert found["b"] * EFFICIENCY == pytest.approx(first_s, rel=0.01)
    assert found["second"] * EFFICIENCY == pytest.approx(second_s, rel=0.01)


def test_of_two_batches_the_one_that_is_due_first_has_three_quarters_of_the_turns():
    """Two batches of 1,600 images, sent together, ended after 9.7 and 14.3 s, and both were forecast to end at 14.3."""
    first, second = load("first", resize=0.1, due_at=900.0), load("second", resize=0.1, due_at=901.0)
    found = ends([second, first], fleet(resize=1))
    assert found["first"] * EFFICIENCY == pytest.approx(100 / 0.75, rel=0.01)
    assert found["second"] * EFFICIENCY == pytest.approx(200, rel=0.01)


def test_batches_with_other_bottlenecks_have_windows_of_their_own_and_equal_turns():
    """A batch of 1,156 images whose bottleneck was resize ended after 16.9 s beside one that waited for blur."""
    first = load("first", resize=0.1, blur=1.0, due_at=900.0)
    second = load("second", images=100, resize=1.0, blur=0.1, due_at=901.0)
    found = ends([first, second], fleet(resize=1, blur=1))
    assert found["second"] * EFFICIENCY == pytest.approx(110, rel=0.02)


def test_after_the_batch_that_is_due_first_the_next_one_has_every_second_turn():
    names = ("first", "second", "third")
    loads = [load(name, resize=0.1, due_at=float(place)) for place, name in enumerate(names)]
    found = ends(loads, fleet(resize=1))
    # Two thirds of the turns and a sixth each; then three quarters of them and one.
    assert found["first"] * EFFICIENCY == pytest.approx(100 / (2 / 3), rel=0.01)
    assert found["second"] * EFFICIENCY == pytest.approx(150 + 75 / 0.75, rel=0.01)
    assert found["third"] * EFFICIENCY == pytest.approx(300, rel=0.01)


@pytest.mark.parametrize("weight", [1, 3])
def test_the_other_half_of_the_turns_follows_weights(weight):
    loads = [load("first", resize=0.1, due_at=1.0), load("heavy", resize=0.1, due_at=2.0, weight=weight),
             load("never due", images=10, resize=0.1)]  # fmt: skip
    found = ends(loads, fleet(resize=1))
    assert found["never due"] * EFFICIENCY == pytest.approx(10 * 0.1 * 2 * (2 + weight), rel=0.01)


def test_owners_share_whatever_the_number_of_their_batches():
    loads = [load(f"{number}", resize=0.1) for number in range(9)]
    found = ends([*loads, load("mine", resize=0.1, owner="me")], fleet(resize=1))
    assert found["mine"] * EFFICIENCY == pytest.approx(200, rel=0.01)


def test_an_express_batch_takes_three_quarters_and_the_other_the_rest():
    small, large = load("small", images=30, resize=1.0, express=True), load("large", resize=0.1)
    found = ends([small, large], fleet(resize=1))
    assert found["small"] * EFFICIENCY == pytest.approx(30 / 0.75, rel=0.02)
    assert found["large"] * EFFICIENCY == pytest.approx(130, rel=0.02)
    assert ends([small], fleet(resize=1))["small"] * EFFICIENCY == pytest.approx(30, rel=0.02)
    small = load("small", images=300, resize=0.1, express=True)
    with_cores = ends([small, large], fleet(resize=9), cores=1)
    assert with_cores["small"] * free_cores(1) == pytest.approx(30 / 0.75, rel=0.03)


def test_an_express_batch_takes_what_others_cannot_use():
    small, held_up = load("small", images=100, resize=1.0, express=True), load("held up", resize=0.001, blur=1.0)
    found = ends([small, held_up], fleet(resize=1, blur=1))
    assert found["small"] * EFFICIENCY == pytest.approx(100, rel=0.02)


def test_low_priority_keeps_a_twentieth():
    loads = [
        load("low", images=50, resize=0.1, priority="low"), load("normal", resize=0.1),
        load("high", resize=0.1, priority="high"),
    ]  # fmt: skip
    assert ends(loads, fleet(resize=1))["low"] * EFFICIENCY == pytest.approx(100, rel=0.01)


def test_a_batch_takes_what_the_bottleneck_of_another_leaves():
    slow, quick = load("slow", blur=1.0, resize=0.01), load("quick", resize=0.01)
    found = ends([slow, quick], fleet(resize=1, blur=1))
    assert found["quick"] * EFFICIENCY == pytest.approx(1_000 * 0.01 * 1.01, rel=0.02)
    assert found["slow"] * EFFICIENCY == pytest.approx(1_000, rel=0.01)


SECONDS = st.floats(0.001, 5)
COUNTS = st.integers(1, 50)


@given(
    st.tuples(SECONDS, SECONDS, SECONDS), st.tuples(COUNTS, COUNTS, COUNTS), st.integers(0, 2), st.integers(1, 9_999)
)
def test_more_replicas_never_end_later(seconds, counts, grown, images):
    one = load(images=images, **dict(zip(NAMES, seconds, strict=True)))
    before = ends([one], fleet(**dict(zip(NAMES, counts, strict=True))))
    more = [count + (number == grown) for number, count in enumerate(counts)]
    after = ends([one], fleet(**dict(zip(NAMES, more, strict=True))))
    assert after["b"] <= before["b"] * (1 + 1e-9)


LOADS = st.lists(
    st.builds(
        load,
        images=st.integers(1, 1_000).map(float),
        resize=SECONDS,
        blur=st.sampled_from([0.0, 0.5]),
        weight=st.integers(1, 5).map(float),
        priority=st.sampled_from(["low", "normal", "high"]),
        owner=st.sampled_from(["a", "b"]),
        due_at=st.sampled_from([inf, 1.0, 2.0]),
        express=st.booleans(),
    ),
    min_size=1,
    max_size=6,
).map(lambda loads: [BatchLoad(f"{number}", *list(vars(one).values())[1:]) for number, one in enumerate(loads)])


@given(LOADS, COUNTS, COUNTS)
def test_all_batches_end_no_capacity_is_lost_and_none_is_made(loads, resize, blur):
    found = ends(loads, fleet(resize=resize, blur=blur))
    assert all(0 < seconds < inf for seconds in found.values())
    capacities = dict(zip(("resize", "blur"), fleet(resize=resize, blur=blur), strict=True))
    flows = [
        sum(one.stages[name].work_s for one in loads) / capacity.stage.rate(capacity.running)
        for name, capacity in capacities.items()
    ]
    assert max(found.values()) >= max(flows) * (1 - 1e-9)
    assert max(found.values()) <= sum(flows) + len(loads) * 50


def simulated(jobs, counts):
    """Images one after the other through stages of so many servers: the time of the last one."""
    arrivals = [0.0] * len(jobs)
    for number, count in enumerate(counts):
        servers = [0.0] * count
        for job, at in sorted(enumerate(arrivals), key=lambda pair: pair[1]):
            began = max(heapq.heappop(servers), at)
            arrivals[job] = began + jobs[job][number]
            heapq.heappush(servers, arrivals[job])
    return max(arrivals)


@pytest.mark.parametrize("images", [3, 10, 50, 400])
@pytest.mark.parametrize("counts", [(1, 1, 1), (2, 1, 4), (8, 2, 8)])
def test_it_is_near_a_simulation_of_each_task(images, counts):
    dice = random.Random(images)
    jobs = [tuple(dice.uniform(0.5, 2) * mean for mean in (0.2, 0.05, 0.4)) for _ in range(images)]
    stages = {
        name: StageWork(sum(column), sum(column) / images, 1, max(column))
        for name, column in zip(NAMES, zip(*jobs, strict=True), strict=True)
    }
    found = ends([BatchLoad("b", images, stages)], fleet(**dict(zip(NAMES, counts, strict=True))))["b"] * EFFICIENCY
    assert found == pytest.approx(simulated(jobs, counts), rel=0.12 if images >= 50 else 0.4)


def test_a_hundred_batches_take_milliseconds():
    dice = random.Random(1)
    loads = [
        load(f"{number}", dice.randrange(1, 10_000), resize=dice.random(), blur=dice.random(), split=0.1,
              priority=dice.choice(["low", "normal", "high"]), owner=dice.choice("abc"), due_at=dice.random())
        for number in range(100)
    ]  # fmt: skip
    capacities = fleet(resize=20, split=3, blur=40)
    best = inf
    for _ in range(5):
        started = time.process_time()
        ends(loads, capacities)
        best = min(best, time.process_time() - started)
    assert best < 0.05  # 5 ms on a quiet machine
