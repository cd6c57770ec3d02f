import pytest

from muniflow.runtime.backoff import doubling_s


@pytest.mark.parametrize(
    ("attempt", "expected_s"), [(0, 0.5), (1, 0.5), (2, 1.0), (3, 2.0), (6, 16.0), (7, 30.0), (100_000, 30.0)]
)
def test_a_pause_doubles_up_to_its_limit(attempt, expected_s):
    assert doubling_s(attempt, 0.5, 30.0) == expected_s
