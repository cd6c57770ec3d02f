"""How far a forecast may be off, from how far the last ones were: split conformal prediction on log ratios."""

from collections.abc import Sequence
from math import ceil, exp, inf, log
from statistics import NormalDist
from typing import NamedTuple

WINDOW = 50
"""Graded forecasts that count, the newest ones."""
ENOUGH = 20
"""With fewer, the missing ones are taken from a wide distribution, and the interval is not called calibrated."""
WIDE = NormalDist(0.0, 0.35)
"""Log ratios where nothing was graded: nine in ten batches end within 1.57 times the forecast."""


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

    The forecasts that are graded are those before any factor: a factor must not correct what it made itself.
    """
    newest = list(log_ratios[-WINDOW:])
    missing = max(ENOUGH - len(newest), 0)
    guessed = [WIDE.inv_cdf((number + 0.5) / ENOUGH) for number in range(ENOUGH)]
    # The outermost guesses first: few grades must not make it narrow.
    guessed.sort(key=abs, reverse=True)
    grades = sorted(newest + guessed[:missing])
    return Interval(exp(_quantile(grades, 0.5)), exp(_quantile(grades, 0.9)), len(newest))


def _quantile(grades: Sequence[float], level: float) -> float:
    """The conformal quantile: one more of the same kind is at most this with probability `level`."""
    rank = ceil((len(grades) + 1) * level)
    return grades[min(rank, len(grades)) - 1]
