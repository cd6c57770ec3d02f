"""The fate of a task."""

from collections import Counter
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniflow.errors import Fault, Invalid, NotFound, Rejected, Unavailable
from muniflow.model.settlement import MAX_ATTEMPTS, Disposition, Done, Fail, Retry, jittered, settle
from muniflow.model.topology import DELAYS_S, all_delays_s

AWAY = Unavailable("blob store", "no route")


@pytest.mark.parametrize(
    ("error", "attempt", "expected"),
    [
        (None, 1, Done()),
        (None, MAX_ATTEMPTS + 5, Done()),
        (AWAY, 1, Retry(5, "blob store is unavailable: no route")),
        (AWAY, 2, Retry(30, "blob store is unavailable: no route")),
        (AWAY, 3, Retry(120, "blob store is unavailable: no route")),
        (AWAY, MAX_ATTEMPTS - 1, Retry(120, "blob store is unavailable: no route")),
        (AWAY, MAX_ATTEMPTS, Fail(f"gave up after {MAX_ATTEMPTS} attempts: blob store is unavailable: no route")),
        (Rejected("not an image"), 1, Fail("not an image")),
        (NotFound("no blob a.jpg"), 1, Fail("no blob a.jpg")),
        (Invalid((Fault("a", "b"),)), 1, Fail("a: b")),
        (MemoryError(), 1, Fail("the image needs more memory than a compute child may use (MUNIFLOW_MEMORY_LIMIT_MB)")),
        (ZeroDivisionError("oops"), 1, Fail("internal error: ZeroDivisionError: oops")),
    ],
)
def test_settlement(error: Exception | None, attempt: int, expected: Disposition) -> None:
    assert settle(error, attempt) == expected


def test_every_retry_has_a_delay_queue() -> None:
    dispositions = [settle(AWAY, attempt) for attempt in range(1, MAX_ATTEMPTS)]
    assert {disposition.delay_s for disposition in dispositions if isinstance(disposition, Retry)} == set(DELAYS_S)


def test_a_part_that_is_away_for_a_quarter_of_an_hour_loses_nothing() -> None:
    dispositions = [settle(AWAY, attempt) for attempt in range(1, MAX_ATTEMPTS)]
    assert sum(disposition.delay_s for disposition in dispositions if isinstance(disposition, Retry)) >= 15 * 60


@given(st.sampled_from(DELAYS_S), st.text())
def test_jitter_is_at_most_a_fifth_and_has_a_queue(delay_s: int, name: str) -> None:
    waits_s = jittered(delay_s, name)
    assert abs(waits_s - delay_s) <= delay_s / 5
    assert waits_s in all_delays_s()
    assert jittered(delay_s, name) == waits_s


@given(st.sampled_from(DELAYS_S), st.text(max_size=40), st.integers(0, 10**6))
def test_what_failed_together_comes_back_in_equal_parts(delay_s: int, batch: str, first: int) -> None:
    count = 3000
    parts = Counter(jittered(delay_s, f"{batch} {image} 0 1 - 2") for image in range(first, first + count))
    assert len(parts) == len(all_delays_s()) // len(DELAYS_S)
    assert all(0.8 < part / (count / len(parts)) < 1.2 for part in parts.values()), parts


@given(st.integers(0, 10**6))
def test_tasks_that_wait_together_once_do_not_always(image: int) -> None:
    waits_s = [jittered(120, f"batch {image} 0 1 - {attempt}") for attempt in range(2, 40)]
    assert len(list(groupby(waits_s))) > 5
