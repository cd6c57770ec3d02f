"""How much work is taken and handed on at a time."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniflow.worker.grouping import (
    FIRST_GUESS_S,
    Backlog,
    Kind,
    Pace,
    PrefetchLimits,
    group_length,
    prefetch_for,
    prefetch_stands_s,
    steadied,
)

SECONDS = st.lists(st.floats(0.0, 10.0), max_size=80)
LIMITS = PrefetchLimits(2, 512, 256_000_000)
LONGEST = (0.2, 32)


@given(SECONDS, st.floats(0.01, 2.0), st.integers(1, 40))
def test_a_group_is_the_longest_that_keeps_its_bounds(seconds, group_s, max_tasks):
    length = group_length(seconds, group_s, max_tasks)
    assert (length == 0) == (not seconds)
    assert length <= max_tasks
    assert length <= 1 or sum(seconds[:length]) <= group_s
    if 0 < length < min(len(seconds), max_tasks):
        assert sum(seconds[: length + 1]) > group_s


@pytest.mark.parametrize(
    ("mean_s", "mean_pixels", "groups", "expected"),
    [
        (0.004, 262_144, 3, 96),  # 512x512: as many as three groups take
        (0.004, 262_144, 12, 384),  # and so for each child
        (0.013, 1_048_576, 3, 47),
        (0.05, 4_194_304, 3, 12),
        (0.4, 32_000_000, 3, 2),  # panoramas: two
        (0.1, 134_217_728, 3, 1),  # the limit on pixels
        (0.05, None, 2, 8),
        (0.05, None, 1, 4),
        (9.0, None, 1, 2),
    ],
)
def test_prefetch_follows_the_size_of_images(mean_s, mean_pixels, groups, expected):
    assert prefetch_for(mean_s, mean_pixels, groups, LONGEST, LIMITS) == expected


@given(st.floats(0, 100), st.none() | st.floats(1, 1e9), st.integers(1, 50))
def test_prefetch_keeps_its_bounds(mean_s, mean_pixels, groups):
    prefetch = prefetch_for(mean_s, mean_pixels, groups, LONGEST, LIMITS)
    assert 1 <= prefetch <= LIMITS.most
    assert prefetch == 1 or (mean_pixels or 0) * prefetch <= LIMITS.pixels_in_flight


@pytest.mark.parametrize(
    ("current", "wanted", "stands_s"),
    [(10, 10, inf), (10, 15, inf), (15, 10, inf), (10, 16, 2.0), (30, 10, 2.0), (10, 31, 0.25), (120, 2, 0.25)],
)
def test_a_prefetch_stands_the_shorter_the_worse_it_is(current, wanted, stands_s):
    assert prefetch_stands_s(current, wanted) == stands_s


def test_a_prefetch_does_not_follow_every_group():
    mean = None
    for wanted in [60, 95, 55, 110, 70, 45, 100, 65] * 10:
        mean = steadied(mean, wanted)
        assert prefetch_stands_s(60, round(mean)) == inf


def test_a_prefetch_follows_other_images_at_once_and_a_slow_change_in_the_end():
    assert steadied(60.0, 3) == 3.0
    assert steadied(3.0, 60) == 60.0
    mean = 60.0
    for _ in range(50):
        mean = steadied(mean, 30)
    assert round(mean) == 30


def test_small_images_after_large_ones_are_known_soon():
    pace, kind = Pace(), Kind("resize", first=True)
    for seconds in [0.13] * 50 + [0.005] * 16:
        pace.learn(kind, seconds, 1000)
    assert pace.mean_s("resize") < 0.006


def test_what_an_operation_did_in_an_earlier_batch_is_forgotten():
    """Sources of 32 MP, and then tiles alone: two deliveries at a time would be a hundredth of the work to hold."""
    pace, sources, tiles = Pace(), Kind("blur", first=True), Kind("blur", first=False)
    pace.learn(sources, 0.3, 32_000_000)
    for number in range(200):
        pace.learn(tiles, 0.003, 260_000)
        if number == 10:
            assert (pace.mean_s("blur"), pace.pixels("blur")) == (0.3, 32_000_000)
    assert pace.mean_s("blur") == pytest.approx(0.003)
    assert pace.pixels("blur") == 260_000
    pace.learn(sources, 0.3, 32_000_000)
    assert pace.mean_s("blur") == pytest.approx(0.3), "mixed with them, both count"


def test_a_guess_follows_the_pixels_of_the_task():
    pace, kind = Pace(), Kind("blur", first=False)
    assert pace.seconds(kind, 100) == FIRST_GUESS_S
    pace.learn(kind, 0.1, 1000)
    assert pace.seconds(kind, 500) == pytest.approx(0.05)
    assert pace.seconds(kind, None) == pytest.approx(0.1)
    for _ in range(100):
        pace.learn(kind, 0.2, 1000)
    assert pace.seconds(kind, 1000) == pytest.approx(0.2, rel=0.01)


def test_failures_teach_nothing():
    pace, kind = Pace(), Kind("blur", first=True)
    pace.learn(kind, 0.0001, 0)
    assert pace.pixels("blur") is None


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 5)), max_size=40))
def test_a_backlog_loses_nothing_and_keeps_the_order_of_each_queue(steps):
    backlog: Backlog[tuple[str, int]] = Backlog()
    expected: dict[str, list[int]] = {name: [] for name in "abc"}
    taken: dict[str, list[int]] = {name: [] for name in "abc"}
    for number, (name, count) in enumerate(steps):
        backlog.add(name, (name, number))
        expected[name].append(number)
        if number % 3 == 0:
            for queue, item in backlog.take(count, 1.0):
                taken[queue].append(item)
    for queue, item in backlog.clear():
        taken[queue].append(item)
    assert taken == expected
    assert len(backlog) == 0


def test_queues_take_turns():
    backlog: Backlog[str] = Backlog()
    for n in range(6):
        backlog.add("busy", f"busy-{n}")
    backlog.add("quiet", "quiet-0")
    assert [backlog.take(2, 1.0) for _ in range(4)] == [
        ["busy-0", "busy-1"], ["quiet-0"], ["busy-2", "busy-3"], ["busy-4", "busy-5"],
    ]  # fmt: skip
    assert backlog.take(2, 1.0) == []


def test_an_express_queue_goes_first_and_another_gets_one_turn_in_four():
    backlog: Backlog[str] = Backlog(frozenset({"fast"}))
    for n in range(4):
        backlog.add("slow", f"slow-{n}")
        backlog.add("other", f"other-{n}")
    for n in range(10):
        backlog.add("fast", f"fast-{n}")
    order = []
    while waiting := backlog.next_queue():
        expected = waiting[0]
        assert backlog.take(1, 0.2) == [expected]
        order.append(expected)
    assert order[:9] == [
        "fast-0", "fast-1", "fast-2", "slow-0", "fast-3", "fast-4", "fast-5", "other-0", "fast-6",
    ]  # fmt: skip
    assert len(order) == 18


@pytest.mark.parametrize(("fast_s", "slow_s"), [(0.2, 0.2), (0.9, 0.2), (0.2, 0.9), (0.05, 0.2)])
def test_express_queues_leave_a_quarter_of_the_time_however_long_their_groups_are(fast_s, slow_s):
    """Turns were counted in groups: tasks of 0.9 s beside groups of 0.2 s took 93% of a worker."""
    backlog: Backlog[str] = Backlog(frozenset({"fast"}))
    spent_s = {"fast": 0.0, "slow": 0.0}
    while min(spent_s.values()) < 30:
        for name in ("fast", "slow"):
            backlog.add(name, name)
        (name,) = backlog.take(1, fast_s if backlog.next_queue()[0] == "fast" else slow_s)
        spent_s[name] += fast_s if name == "fast" else slow_s
    assert spent_s["fast"] / sum(spent_s.values()) == pytest.approx(0.75, abs=0.03)


def test_express_turns_while_no_other_waits_are_not_owed():
    backlog: Backlog[str] = Backlog(frozenset({"fast"}))
    for n in range(50):
        backlog.add("fast", f"fast-{n}")
        backlog.take(1, 0.2)
    for n in range(9):
        backlog.add("slow", f"slow-{n}")
        backlog.add("fast", f"more-{n}")
    order = [backlog.take(1, 0.2)[0][:4] for _ in range(8)]
    assert order.count("slow") <= 3
