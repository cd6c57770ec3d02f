import pytest

from muniflow.forecast.grade import Forecast, Grade, coverage, learned
from muniflow.forecast.interval import ENOUGH, WINDOW, interval


def test_a_forecast_counts_from_acceptance():
    found = Forecast.of(finish_s=100.0, passed_s=10.0, earlier=interval([0.0] * WINDOW))
    assert found == (110.0, 110.0, 110.0)
    wide = Forecast.of(finish_s=100.0, passed_s=10.0, earlier=interval([]))
    assert wide.p90_s > 10 + 1.4 * 100


def test_a_forecast_that_was_made_late_is_within_p90_as_often_as_any_other():
    """The batches take 0.5 to 1.5 times the forecast, with most of the time over before it is made."""
    actuals = [10.0 * (0.5 + (n * 37 % 101) / 101) for n in range(400)]
    grades: list[Grade] = []
    for actual_s in actuals:
        grades.append(Grade(Forecast.of(finish_s=2.0, passed_s=8.0, earlier=learned(grades)), actual_s))
    within = sum(grade.within_p90 for grade in grades[WINDOW:]) / len(grades[WINDOW:])
    assert 0.85 <= within <= 0.95


def test_no_part_of_a_forecast_has_passed_already():
    early = learned([Grade(Forecast(10.0, 10.0, 10.0), 5.0)] * WINDOW)
    assert Forecast.of(finish_s=1.0, passed_s=9.0, earlier=early) == (10.0, 9.0, 9.0)


def test_grades_learn_from_what_was_forecast_before_any_factor():
    grades = [Grade(Forecast(10.0, 20.0, 30.0), 20.0)] * ENOUGH
    assert learned(grades).p50 == pytest.approx(2.0)
    assert grades[0].ratio == 1.0


def test_coverage_is_of_the_newest_ones():
    late, early = Grade(Forecast(10.0, 10.0, 12.0), 13.0), Grade(Forecast(10.0, 10.0, 12.0), 11.0)
    assert coverage([]) is None
    assert coverage([late] * 10 + [early] * WINDOW) == 1.0
    assert coverage([early] * 3 + [late]) == 0.75
    assert Grade(Forecast(0.0, 0.0, 0.0), 1.0).ratio is None
