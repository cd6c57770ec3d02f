"""Grades: what a forecast at the acceptance of a batch said, and what came."""

from collections.abc import Sequence
from typing import NamedTuple

from muniflow.forecast.interval import WINDOW, Interval, interval, log_ratio


class Forecast(NamedTuple):
    """Fixed once, soon after acceptance. All in seconds from acceptance to the end."""

    finish_s: float
    """Before any correction by earlier grades: what the interval learns from."""
    p50_s: float
    p90_s: float

    @classmethod
    def of(cls, finish_s: float, passed_s: float, earlier: Interval) -> "Forecast":
        """The forecast of a batch that was accepted `passed_s` seconds ago and ends in `finish_s` seconds.

        The factors hold for the whole time, as the grades that they come from do; of the rest alone they would be too
        small where much of it has passed, and too few batches would end within p90.
        """
        whole_s = passed_s + finish_s
        return cls(whole_s, max(whole_s * earlier.p50, passed_s), max(whole_s * earlier.p90, passed_s))


class Grade(NamedTuple):
    """A forecast and what came."""

    forecast: Forecast
    actual_s: float

    @property
    def ratio(self) -> float | None:
        """Actual time over p50; `None` where the forecast was no duration."""
        return self.actual_s / self.forecast.p50_s if self.forecast.p50_s > 0 else None

    @property
    def within_p90(self) -> bool:
        """Whether the batch ended by then."""
        return self.actual_s <= self.forecast.p90_s


def coverage(grades: Sequence[Grade]) -> float | None:
    """The part of the newest `WINDOW` grades, oldest first, within p90; `None` where there are none."""
    newest = grades[-WINDOW:]
    return sum(grade.within_p90 for grade in newest) / len(newest) if newest else None


def log_ratios(grades: Sequence[Grade]) -> tuple[float, ...]:
    """What the interval of later forecasts is made from, in the same order."""
    ratios = (log_ratio(grade.actual_s, grade.forecast.finish_s) for grade in grades)
    return tuple(ratio for ratio in ratios if ratio is not None)


def learned(grades: Sequence[Grade]) -> Interval:
    """The interval that these grades, oldest first, ask for."""
    return interval(log_ratios(grades))
