"""Fair turns, inside the windows."""

import time
from collections import Counter, deque
from collections.abc import Callable
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muniflow.model.batch_document import PRIORITIES, Priority
from muniflow_coordinator.runs.scheduler import Scheduler
from muniflow_coordinator.runs.turns import EVERY, Standing
from muniflow_coordinator.runs.window import Window


def turns(scheduler: Scheduler, count: int, in_flight: int = 8) -> list[int]:
    """Take `count` turns, with at most `in_flight` images in flight that end in their order."""
    flying: deque[int] = deque()
    taken: list[int] = []
    while len(taken) < count:
        if len(flying) >= in_flight:
            scheduler.release(flying.popleft())
        batch = scheduler.take()
        if batch is None:
            scheduler.release(flying.popleft())
        else:
            flying.append(batch)
            taken.append(batch)
    return taken


@given(weights=st.lists(st.integers(1, 100), min_size=1, max_size=12))
def test_shares_are_within_a_tenth_of_the_weights(weights: list[int]) -> None:
    scheduler = Scheduler(window_images=1000, window_total=8)
    for batch, weight in enumerate(weights):
        scheduler.add(batch, Standing(weight))
    rounds = sum(weights) * 5  # everyone has at least five turns due
    counted = Counter(turns(scheduler, rounds))
    for batch, weight in enumerate(weights):
        due = rounds * weight / sum(weights)
        assert abs(counted[batch] - due) <= max(0.1 * due, 1)


@given(others=st.lists(st.integers(1, 10), min_size=1, max_size=30), before=st.integers(0, 500))
def test_a_new_batch_takes_its_share_at_once(others: list[int], before: int) -> None:
    scheduler = Scheduler(window_images=1000, window_total=8)
    for batch, weight in enumerate(others, start=1):
        scheduler.add(batch, Standing(weight))
    turns(scheduler, before)
    scheduler.add(0, Standing())
    for _ in range(scheduler.total_in_flight):
        for batch in range(len(others) + 1):
            scheduler.release(batch)
    # One turn of weight 1 comes in at most the sum of all weights, and one turn of each for rounding.
    assert 0 in turns(scheduler, sum(others) + 1 + len(others) + 1)


def test_a_batch_that_had_nothing_to_do_saves_up_no_turns() -> None:
    scheduler = Scheduler(window_images=1000, window_total=4)
    scheduler.add(1, Standing())
    scheduler.add(2, Standing())
    assert scheduler.take() in {1, 2}
    scheduler.nothing_left(1)
    turns(scheduler, 1000, in_flight=2)
    scheduler.add(1, Standing())
    assert 45 <= Counter(turns(scheduler, 100, in_flight=2))[1] <= 55


steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 4), st.integers(1, 5)),
        st.tuples(st.sampled_from(["take", "nothing"]), st.just(0), st.just(0)),
        st.tuples(st.sampled_from(["release", "remove", "pause"]), st.integers(0, 4), st.integers(1, 3)),
    ),
    max_size=120,
)


@given(script=steps, window=st.integers(1, 4), total=st.integers(1, 8))
def test_windows_hold_whatever_happens(script: list[tuple[str, int, int]], window: int, total: int) -> None:
    scheduler = Scheduler(window, total)
    flying: Counter[int] = Counter()
    ready: set[int] = set()
    known: set[int] = set()
    for action, batch, number in script:
        match action:
            case "add":
                scheduler.add(batch, Standing(number, due_at=100.0 - batch if batch % 2 else inf))
                ready.add(batch)
                known.add(batch)
            case "remove":
                scheduler.remove(batch)
                flying.pop(batch, None)
                ready.discard(batch)
                known.discard(batch)
            case "pause":
                scheduler.pause(batch)
                ready.discard(batch)
            case "release":
                scheduler.release(batch, number)
                flying[batch] = max(0, flying[batch] - number) if batch in known else 0
            case _:
                open_to = {b for b in ready if flying[b] < window} if flying.total() < total else set()
                taken = scheduler.take()
                assert (taken in open_to) if open_to else taken is None
                if taken is not None and action == "nothing":
                    scheduler.nothing_left(taken)
                    ready.discard(taken)
                elif taken is not None:
                    flying[taken] += 1
        assert scheduler.total_in_flight == flying.total() <= total
        assert all(scheduler.in_flight(b) == flying[b] <= window for b in range(5))


def test_a_window_can_become_wider_and_narrower() -> None:
    scheduler = Scheduler(window_images=2, window_total=10)
    scheduler.add(1, Standing())
    assert [scheduler.take() for _ in range(3)] == [1, 1, None]
    scheduler.set_window(1, Window(4, 0))
    assert [scheduler.take() for _ in range(3)] == [1, 1, None]
    scheduler.set_window(1, Window(1, 0))
    scheduler.release(1, 3)
    assert scheduler.take() is None
    scheduler.release(1)
    assert [scheduler.take() for _ in range(2)] == [1, None]
    scheduler.set_window(7, Window(3, 0))  # a batch that is not known
    assert scheduler.in_flight(7) == 0


def test_intermediates_stay_within_their_bytes_and_one_image_always_goes() -> None:
    scheduler = Scheduler(window_images=10, window_total=100, window_bytes=100)
    scheduler.add(1, Standing())
    scheduler.set_window(1, Window(10, 40))
    assert [scheduler.take() for _ in range(3)] == [1, 1, None]
    assert scheduler.bytes_in_flight == 80
    scheduler.release(1)
    scheduler.set_window(1, Window(10, 90))  # its images turned out larger
    assert (scheduler.take(), scheduler.bytes_in_flight) == (None, 90)
    scheduler.set_window(1, Window(10, 1_000))
    scheduler.release(1)
    assert (scheduler.take(), scheduler.bytes_in_flight) == (1, 1_000)
    scheduler.remove(1)
    assert (scheduler.bytes_in_flight, scheduler.window) == (0, 0)


@given(
    sizes=st.lists(st.integers(0, 60), min_size=1, max_size=6),
    actions=st.lists(st.tuples(st.sampled_from(["take", "release", "resize"]), st.integers(0, 5)), max_size=80),
)
def test_bytes_in_flight_are_those_of_the_images_in_flight(sizes: list[int], actions: list[tuple[str, int]]) -> None:
    scheduler = Scheduler(window_images=20, window_total=50, window_bytes=100)
    for batch, size in enumerate(sizes):
        scheduler.add(batch, Standing())
        scheduler.set_window(batch, Window(20, size))
    for action, number in actions:
        batch = number % len(sizes)
        if action == "release":
            scheduler.release(batch)
        elif action == "resize":
            sizes[batch] = number * 7
            scheduler.set_window(batch, Window(20, sizes[batch]))
        else:
            before = scheduler.bytes_in_flight
            taken = scheduler.take()
            if taken is not None:
                assert not before or before + sizes[taken] <= 100
        expected = sum(scheduler.in_flight(batch) * size for batch, size in enumerate(sizes))
        assert scheduler.bytes_in_flight == expected


@pytest.mark.parametrize(
    "standing", [lambda n: Standing(1 + n % 7), lambda n: Standing(1, PRIORITIES[n % 3], float(n), f"o{n}")]
)
def test_a_decision_stays_cheap_with_a_thousand_batches(standing: Callable[[int], Standing]) -> None:
    def seconds(batches: int) -> float:
        scheduler = Scheduler(window_images=100, window_total=64)
        for batch in range(batches):
            scheduler.add(batch, standing(batch))
        started = time.process_time()
        turns(scheduler, 20_000, in_flight=32)
        return time.process_time() - started

    # Linear work would make it a hundred times slower; the bound is far from both.
    assert seconds(1000) < 15 * min(seconds(10) for _ in range(3))


MANY = 1000
"""Turns, over which shares are compared."""
priorities = st.sampled_from(PRIORITIES)
standings = st.builds(
    Standing,
    weight=st.integers(1, 10),
    priority=priorities,
    due_at=st.floats(0, 1e6) | st.just(inf),
    owner=st.sampled_from(["a", "b", "c"]),
    express=st.just(False),
)


def of(standings: "list[Standing]") -> Scheduler:
    scheduler = Scheduler(window_images=1000, window_total=100)
    for batch, standing in enumerate(standings):
        scheduler.add(batch, standing)
    return scheduler


def by(standings: "list[Standing]", taken: "list[int]", field: str) -> "Counter[object]":
    return Counter(getattr(standings[batch], field) for batch in taken)


@given(present=st.sets(priorities, min_size=1), each=st.integers(1, 4))
def test_a_lower_priority_has_a_twentieth_of_the_turns_and_the_highest_all_others(
    present: set[Priority], each: int
) -> None:
    asked = [Standing(priority=priority) for priority in present for _ in range(each)]
    counted = by(asked, turns(of(asked), MANY), "priority")
    *lower, highest = sorted(present, key=PRIORITIES.index)
    for priority in lower:
        assert abs(counted[priority] - MANY / EVERY) <= 1
    assert abs(counted[highest] - (MANY - len(lower) * MANY / EVERY)) <= 2


@given(dues=st.lists(st.floats(0, 1e6), min_size=2, max_size=8, unique=True))
def test_half_of_the_turns_go_to_the_batch_that_is_due_first_and_the_rest_by_weight(dues: list[float]) -> None:
    asked = [Standing(weight=1 + number % 3, due_at=due) for number, due in enumerate(dues)]
    counted = Counter(turns(of(asked), MANY))
    weights = sum(standing.weight for standing in asked)
    first = min(range(len(asked)), key=dues.__getitem__)
    for batch, standing in enumerate(asked):
        share = 0.5 * standing.weight / weights + (0.5 if batch == first else 0.0)
        assert abs(counted[batch] - MANY * share) <= 2


@given(asked=st.lists(standings, min_size=1, max_size=12))
def test_owners_have_equal_shares_whatever_they_send(asked: list[Standing]) -> None:
    counted = by(asked, turns(of(asked), MANY), "owner")
    assert max(counted.values()) - min(counted.values()) <= 1
    assert len(counted) == len({standing.owner for standing in asked})


@given(asked=st.lists(standings, min_size=1, max_size=12))
def test_nothing_starves(asked: list[Standing]) -> None:
    owners, weights = len({standing.owner for standing in asked}), sum(standing.weight for standing in asked)
    # The lightest batch of the lowest priority: its owner's turns, a twentieth of these, half of these by weight.
    least = owners * EVERY * 2 * (weights + len(asked) + 1) + EVERY
    assert set(turns(of(asked), least)) == set(range(len(asked)))


def test_the_next_one_due_takes_over_while_the_first_may_not() -> None:
    scheduler = Scheduler(window_images=2, window_total=100)
    for batch, due_at in enumerate([3.0, 1.0, 2.0]):
        scheduler.add(batch, Standing(due_at=due_at))
    assert [scheduler.take() for _ in range(7)] == [1, 0, 1, 2, 2, 0, None]
    scheduler.release(1)
    assert [scheduler.take(), scheduler.take()] == [1, None]
    scheduler.remove(1)
    scheduler.release(0)
    scheduler.release(2)
    assert sorted([scheduler.take() or 0, scheduler.take() or 0]) == [0, 2]


def test_a_lower_priority_saves_up_no_turns_while_it_has_nothing_to_do() -> None:
    scheduler = of([Standing(), Standing(priority="low")])
    turns(scheduler, 100)
    scheduler.pause(1)
    turns(scheduler, 1000)
    scheduler.add(1, Standing())
    assert 5 <= Counter(turns(scheduler, 100))[1] <= 6


def test_a_turn_without_an_image_costs_its_owner_nothing() -> None:
    scheduler = of([Standing(owner="a"), Standing(owner="b")])
    taken: Counter[int] = Counter()
    while taken.total() < MANY:
        batch = scheduler.take()
        assert batch is not None
        if batch == 1 and taken[1] % 2:  # every second turn of owner b finds nothing, as with batches of one image
            scheduler.nothing_left(1)
            taken[1] += 1
            taken[2] += 1
            scheduler.add(1, Standing(owner="b"))
            continue
        scheduler.release(batch)
        taken[batch] += 1
    assert abs(taken[0] - (taken[1] - taken[2])) <= 2


def test_batches_that_end_leave_nothing_behind() -> None:
    scheduler = of([Standing(due_at=0.0)])
    for batch in range(1, 5000):
        scheduler.add(batch, Standing(due_at=float(batch)))
        scheduler.remove(batch)
    kept = scheduler._normal.turns._owners["default"].classes["normal"]
    assert len(kept.by_due) < 10


def served(scheduler: Scheduler, flying: "deque[int]", count: int) -> "Counter[int]":
    """Serve so many images in the order in which they were dispatched, with all windows kept full."""
    done: Counter[int] = Counter()
    while done.total() < count:
        while (batch := scheduler.take()) is not None:
            flying.append(batch)
        batch = flying.popleft()
        scheduler.release(batch)
        done[batch] += 1
    return done


@given(window=st.integers(40, 400), lower=st.sampled_from(["low", "normal"]), each=st.integers(1, 3))
@settings(max_examples=20)
def test_a_higher_priority_is_served_first_although_every_window_has_room(
    window: int, lower: Priority, each: int
) -> None:
    scheduler = Scheduler(window_images=window, window_total=100_000)
    flying: deque[int] = deque()
    for batch in range(each):
        scheduler.add(batch, Standing(priority=lower))
    served(scheduler, flying, 3 * window)
    assert len(flying) == each * window - 1
    scheduler.add(9, Standing(priority="high"))
    served(scheduler, flying, (each + 1) * window)  # what was ahead of it
    counted = served(scheduler, flying, 2000)
    assert 0.92 < counted[9] / 2000 < 0.97
    scheduler.pause(9)
    served(scheduler, flying, 2 * window)
    assert 9 not in flying
    assert len(flying) == each * window - 1, "the others have their windows again"


def test_without_priorities_every_batch_has_its_own_window() -> None:
    scheduler = Scheduler(window_images=10, window_total=1000)
    for batch in range(3):
        scheduler.add(batch, Standing(due_at=float(batch)))
    assert Counter(iter(scheduler.take, None)) == {0: 10, 1: 10, 2: 10}
