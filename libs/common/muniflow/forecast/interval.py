"""How far a forecast may be off, from how far the last ones were: conformal prediction around a level that follows."""

from collections.abc import Sequence
from math import ceil, exp, inf, log
from statistics import NormalDist, median
from typing import NamedTuple

WINDOW = 50
"""Graded forecasts that count, the newest ones."""
ENOUGH = 20
"""With fewer, the missing ones are taken from a wide distribution, and the interval is not called calibrated."""
WIDE = NormalDist(0.0, 0.35)
"""Log ratios where nothing was graded: nine in ten batches end within 1.57 times the forecast."""
GAIN = 0.15
"""The part of each grade that the level takes over, a compromise: it follows a pace that changes within some seven
batches, and the luck of single batches moves it by a quarter of their spread (docs/research/performance.md)."""
UNGRADED = 2
"""Grades of 0 that the first ones have beside them."""
MAX_MISS = 0.5
"""A grade that is farther off moves the level no more than this: one batch that stood still says little of the next."""
SETTLING = 10
"""Of a window, the level begins at the median of so many."""


class Interval(NamedTuple):
    """Factors to multiply a forecast duration with."""

    p50: float
    p90: float
    """Nine in ten batches end within this factor."""
    graded: int
    """Forecasts that it rests on."""

    @property
    def calibrated(self) -> bool:
        """Whether it rests on what was seen, and not on a wide guess."""
        return self.graded >= ENOUGH


def log_ratio(actual_s: float, forecast_s: float) -> float | None:
    """The grade of a forecast; `None` where one of both is no duration."""
    if not (0 < actual_s < inf and 0 < forecast_s < inf):
        return None
    return log(actual_s / forecast_s)


def interval(log_ratios: Sequence[float]) -> Interval:
    """The factors that the newest `WINDOW` of these grades, oldest first, ask for.

    The forecasts that are graded are those before any factor: a factor must not correct what it made itself. A level
    follows the grades, as the pace of machines does not stay what it was, and is p50; p90 lies above it by the quantile
    of how far each grade was off the level before it.
    """
    newest = list(log_ratios[-WINDOW:])
    missing = max(ENOUGH - len(newest), 0)
    guessed = [WIDE.inv_cdf((number + 0.5) / ENOUGH) for number in range(ENOUGH)]
    # The outermost guesses first: few grades must not make it narrow.
    guessed.sort(key=abs, reverse=True)
    level, misses = _followed(newest)
    scores = sorted(misses + guessed[:missing])
    return Interval(exp(level), exp(level + max(_quantile(scores, 0.9), 0.0)), len(newest))


def _followed(grades: Sequence[float]) -> tuple[float, list[float]]:
    """The level after the last grade, and how far each was off the level before it."""
    known = len(grades) >= ENOUGH
    level, misses = median(grades[:SETTLING]) if known else 0.0, []
    for number, grade in enumerate(grades):
        miss = grade - level
        misses.append(miss)
        gain = GAIN if known else max(GAIN, 1 / (number + 1 + UNGRADED))
        level += gain * min(max(miss, -MAX_MISS), MAX_MISS)
    return level, misses


def _quantile(scores: Sequence[float], level: float) -> float:
    """The conformal quantile: one more of the same kind is at most this with probability `level`."""
    rank = ceil((len(scores) + 1) * level)
    return scores[min(rank, len(scores)) - 1]
