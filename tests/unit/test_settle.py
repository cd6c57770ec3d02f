"""The fate of a task."""

import pytest

from muniflow.errors import Fault, Invalid, NotFound, Rejected, Unavailable
from muniflow.settle import MAX_ATTEMPTS, Done, Fail, Fate, Retry, settle
from muniflow.topology import DELAYS_S

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
        (MemoryError(), 1, Fail("the image needs more memory than a compute child may use")),
        (ZeroDivisionError("oops"), 1, Fail("internal error: ZeroDivisionError: oops")),
    ],
)
def test_settlement(error: Exception | None, attempt: int, expected: Fate) -> None:
    assert settle(error, attempt) == expected


def test_every_retry_has_a_delay_queue() -> None:
    fates = [settle(AWAY, attempt) for attempt in range(1, MAX_ATTEMPTS)]
    assert {fate.delay_s for fate in fates if isinstance(fate, Retry)} == set(DELAYS_S)


def test_a_part_that_is_away_for_a_quarter_of_an_hour_loses_nothing() -> None:
    fates = [settle(AWAY, attempt) for attempt in range(1, MAX_ATTEMPTS)]
    assert sum(fate.delay_s for fate in fates if isinstance(fate, Retry)) >= 15 * 60
