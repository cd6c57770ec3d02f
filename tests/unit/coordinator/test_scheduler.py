"""Fair turns, inside the windows."""

import time
from collections import Counter, deque

from hypothesis import given, settings
from hypothesis import strategies as st

from muniflow_coordinator.runs.scheduler import Scheduler


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


@settings(deadline=None)
@given(weights=st.lists(st.integers(1, 100), min_size=1, max_size=12))
def test_shares_are_within_a_tenth_of_the_weights(weights: list[int]) -> None:
    scheduler = Scheduler(window_images=1000, window_total=8)
    for batch, weight in enumerate(weights):
        scheduler.add(batch, weight)
    rounds = sum(weights) * 5  # everyone has at least five turns due
    counted = Counter(turns(scheduler, rounds))
    for batch, weight in enumerate(weights):
        due = rounds * weight / sum(weights)
        assert abs(counted[batch] - due) <= max(0.1 * due, 1)


@settings(deadline=None)
@given(others=st.lists(st.integers(1, 10), min_size=1, max_size=30), before=st.integers(0, 500))
def test_a_new_batch_takes_its_share_at_once(others: list[int], before: int) -> None:
    scheduler = Scheduler(window_images=1000, window_total=8)
    for batch, weight in enumerate(others, start=1):
        scheduler.add(batch, weight)
    turns(scheduler, before)
    scheduler.add(0, 1)
    for _ in range(scheduler.total_in_flight):
        for batch in range(len(others) + 1):
            scheduler.release(batch)
    # One turn of weight 1 comes in at most the sum of all weights, and one turn of each for rounding.
    assert 0 in turns(scheduler, sum(others) + 1 + len(others) + 1)


def test_a_batch_that_had_nothing_to_do_saves_up_no_turns() -> None:
    scheduler = Scheduler(window_images=1000, window_total=4)
    scheduler.add(1, 1)
    scheduler.add(2, 1)
    assert scheduler.take() in {1, 2}
    scheduler.nothing_left(1)
    turns(scheduler, 1000, in_flight=2)
    scheduler.add(1, 1)
    assert 45 <= Counter(turns(scheduler, 100, in_flight=2))[1] <= 55


steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 4), st.integers(1, 5)),
        st.tuples(st.sampled_from(["take", "nothing"]), st.just(0), st.just(0)),
        st.tuples(st.sampled_from(["release", "remove", "pause"]), st.integers(0, 4), st.integers(1, 3)),
    ),
    max_size=120,
)


@settings(deadline=None)
@given(script=steps, window=st.integers(1, 4), total=st.integers(1, 8))
def test_windows_hold_whatever_happens(script: list[tuple[str, int, int]], window: int, total: int) -> None:
    scheduler = Scheduler(window, total)
    flying: Counter[int] = Counter()
    ready: set[int] = set()
    known: set[int] = set()
    for action, batch, number in script:
        match action:
            case "add":
                scheduler.add(batch, number)
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
    scheduler.add(1, 1)
    assert [scheduler.take() for _ in range(3)] == [1, 1, None]
    scheduler.set_window(1, 4)
    assert [scheduler.take() for _ in range(3)] == [1, 1, None]
    scheduler.set_window(1, 1)
    scheduler.release(1, 3)
    assert scheduler.take() is None
    scheduler.release(1)
    assert [scheduler.take() for _ in range(2)] == [1, None]
    scheduler.set_window(7, 3)  # a batch that is not known
    assert scheduler.in_flight(7) == 0


def test_a_decision_stays_cheap_with_a_thousand_batches() -> None:
    def seconds(batches: int) -> float:
        scheduler = Scheduler(window_images=100, window_total=64)
        for batch in range(batches):
            scheduler.add(batch, 1 + batch % 7)
        started = time.perf_counter()
        turns(scheduler, 20_000, in_flight=32)
        return time.perf_counter() - started

    # Linear work would make it a hundred times slower; the bound is far from both.
    assert seconds(1000) < 15 * min(seconds(10) for _ in range(3))
