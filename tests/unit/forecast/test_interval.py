"""How far a forecast may be off."""

import random
from math import exp, inf, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniflow.forecast.interval import ENOUGH, WINDOW, interval, log_ratio


def test_with_nothing_graded_it_is_wide_and_says_so():
    found = interval([])
    assert (found.graded, found.calibrated) == (0, False)
    assert found.p50 == pytest.approx(1, abs=0.1)
    assert 1.4 < found.p90 < 1.8


def test_few_good_grades_do_not_make_it_narrow_and_many_do():
    widths = [interval([0.01 * (number % 3) for number in range(count)]).p90 for count in (3, ENOUGH - 5, WINDOW)]
    assert widths[0] > 1.4
    assert widths[0] >= 0.99 * widths[1] >= widths[2]
    assert widths[2] < 1.03
    assert interval([0.0] * ENOUGH).calibrated


def test_only_the_newest_count():
    assert interval([5.0] * 100 + [0.1] * WINDOW) == interval([0.1] * WINDOW)
    assert interval([0.1] * 100).graded == WINDOW


@pytest.mark.parametrize("draw", [
    lambda dice: dice.gauss(0.1, 0.15), lambda dice: dice.expovariate(5), lambda dice: dice.uniform(-1, 1),
])  # fmt: skip
def test_nine_in_ten_are_within_p90(draw):
    dice = random.Random(17)
    grades = [draw(dice) for _ in range(50)]
    within, halves = 0, 0
    for _ in range(2_000):
        found, new = interval(grades), draw(dice)
        within += new <= log(found.p90)
        halves += new <= log(found.p50)
        grades.append(new)
    assert 0.85 <= within / 2_000 <= 0.95
    assert 0.45 <= halves / 2_000 <= 0.65, "where luck is one-sided, p50 is between its median and its mean"


def test_it_follows_a_pace_that_changes():
    """A machine that others load takes twice as long from one batch to the next."""
    dice = random.Random(3)
    grades = [dice.gauss(0.1, 0.1) for _ in range(50)] + [dice.gauss(0.8, 0.1) for _ in range(12)]
    assert log(interval(grades).p50) == pytest.approx(0.8, abs=0.2)
    assert log(interval(grades[:10] + [0.8] * 12).p50) == pytest.approx(0.8, abs=0.2), "while few are known, too"


def test_one_batch_that_stood_still_says_little_of_the_next():
    grades = [0.1] * 49
    assert interval([*grades, 5.0]).p50 < 1.1 * interval(grades).p50


@given(st.lists(st.floats(-3, 3), max_size=80), st.floats(-1, 1))
def test_it_is_ordered_and_moves_with_the_grades(grades, shift):
    found = interval(grades)
    assert 0 < found.p50 <= found.p90
    if len(grades) >= ENOUGH:
        moved = interval([grade + shift for grade in grades])
        assert moved.p90 == pytest.approx(found.p90 * exp(shift))


@pytest.mark.parametrize(("actual_s", "forecast_s", "grade"), [
    (20, 10, log(2)), (0, 10, None), (10, 0, None), (10, inf, None), (inf, 10, None),
])  # fmt: skip
def test_grades(actual_s, forecast_s, grade):
    assert log_ratio(actual_s, forecast_s) == grade
