"""Rates of interleaved rounds, and the ratios that are taken within a round."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Run:
    """One run of one contender."""

    images: int
    seconds: float
    """Wall clock, from giving the work to the last output."""
    cpu_s: float
    """Of every process that took part, broker included."""

    @property
    def images_per_s(self) -> float:
        """Images of the corpus per second of wall clock."""
        return self.images / self.seconds

    @property
    def cpu_ms_per_image(self) -> float:
        """CPU milliseconds per image."""
        return self.cpu_s / self.images * 1000


def together(runs: Sequence[Run]) -> Run:
    """Several runs as one."""
    return Run(sum(run.images for run in runs), sum(run.seconds for run in runs), sum(run.cpu_s for run in runs))


@dataclass(frozen=True)
class Spread:
    """A median with its range."""

    median: float
    low: float
    high: float
    count: int

    def text(self, digits: int = 2) -> str:
        """`1.03 (0.98 to 1.10)`."""
        return f"{self.median:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"


def spread(values: Sequence[float]) -> Spread:
    """The median and range of at least one value."""
    return Spread(statistics.median(values), min(values), max(values), len(values))


Round = Mapping[str, Run]
"""What every contender did in one round, by its name."""


def rates(rounds: Sequence[Round], name: str) -> Spread:
    """Images per second of one contender."""
    return spread([one[name].images_per_s for one in rounds])


def ratios(rounds: Sequence[Round], name: str, base: str) -> Spread:
    """Rate over the rate of `base`, each taken within one round: the machine drifts between rounds."""
    return spread([one[name].images_per_s / one[base].images_per_s for one in rounds])


def cpu_ratios(rounds: Sequence[Round], name: str, base: str) -> Spread:
    """CPU time per image over that of `base`, within a round."""
    return spread([one[name].cpu_ms_per_image / one[base].cpu_ms_per_image for one in rounds])


def order_of(names: Sequence[str], number: int) -> list[str]:
    """The order of round `number`: each starts one further, and every other round runs backwards.

    So no contender always follows the same neighbour, whose caches and writeback it would inherit.
    """
    shift = number % len(names)
    turned = [*names[shift:], *names[:shift]]
    return turned[::-1] if number % 2 else turned


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that `percent` of all are at or below (nearest rank), of at least one value."""
    ordered = sorted(values)
    rank = max(1, -(-len(ordered) * percent // 100))
    return ordered[int(rank) - 1]


def off_median(values: Sequence[float]) -> tuple[float, float]:
    """How far the lowest and the highest value are from the median, as parts of it."""
    middle = statistics.median(values)
    return min(values) / middle - 1, max(values) / middle - 1
