"""How far forecasts were off, as a table."""

import pytest
from benchmarks.forecast_grades import BatchGrade, table


def grade(error: float) -> BatchGrade:
    """Of a batch that took 100 s."""
    planned_s = 100.0 * (1 + error)
    return BatchGrade("512", "blur", 10, 1, p50_s=planned_s, p90_s=110.0, began_at=0.0, ended_at=100.0, eta_ratio=None)


@pytest.mark.parametrize(("count", "within"), [(50, "45%"), (11, "10%"), (10, "9%"), (1, "1%")])
def test_nine_in_ten_are_within_that_error(count, within):
    grades = [grade((-1) ** number * number / 100) for number in range(1, count + 1)]
    row = next(row for row in table(grades, seed=1).rows if row[0] == "all")
    assert row[3] == within


def test_a_batch_counts_as_within_p90_up_to_that_time():
    row = next(row for row in table([grade(0.0), grade(0.2)], seed=1).rows if row[0] == "all")
    assert row[6] == "2 of 2"


def test_no_batches_of_a_kind_are_told_as_such():
    row = next(row for row in table([grade(0.1)], seed=1).rows if row[0] == "mixed sizes")
    assert row == ("mixed sizes", "0", *["-"] * 7)
