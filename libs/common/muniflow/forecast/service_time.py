"""Service time of tasks of one class, `a + b * megapixels in + c * megapixels out + d * outputs` seconds, from sums.

The sums are weighted with 1 / megapixels, so that a megapixel weighs the same in whatever image it is: the sum over a
batch is right, where costs per megapixel differ with the size. With 1 / megapixels^2 the many small images of a mixed
batch decided what the few large ones cost, and its work was forecast 9% too short (docs/research/performance.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import combinations
from math import sqrt
from operator import add, attrgetter
from typing import NamedTuple, Self

WEIGHT_MP = 0.5
"""Megapixels in and out below which all tasks weigh the same: there the constant part is most of the time."""
PRIOR_TASKS = 3.0
"""Tasks that the prior counts for. It decides only what the observations leave open."""
HALF_LIFE_TASKS = 2_000
HALF_LIFE_S = 600.0
"""An observation counts half after `HALF_LIFE_TASKS` later tasks *and* `HALF_LIFE_S` seconds: nothing is forgotten
while a class is idle, and a fast cluster does not forget within a second what large images take."""

_VARIABLES = 4
_SINGULAR = 1e-12


class ServiceTime(NamedTuple):
    """Seconds of one task as a function of its megapixels and of the images that it makes. No part is negative."""

    a_s: float
    b_s_per_mp_in: float
    c_s_per_mp_out: float
    d_s_per_output: float = 0.0

    def seconds(self, mp_in: float, mp_out: float, tasks: float = 1.0, outputs: float = 1.0) -> float:
        """Seconds of `tasks` tasks with so many megapixels and outputs together."""
        pixels_s = self.b_s_per_mp_in * mp_in + self.c_s_per_mp_out * mp_out
        return self.a_s * tasks + pixels_s + self.d_s_per_output * outputs

    def scaled(self, factor: float) -> "ServiceTime":
        """The same on a machine that takes `factor` times as long."""
        return ServiceTime(*(part * factor for part in self))


class Amount(NamedTuple):
    """Tasks, and the megapixels and outputs of all of them together."""

    tasks: float = 0.0
    mp_in: float = 0.0
    mp_out: float = 0.0
    outputs: float = 0.0

    def plus(self, other: "Amount", factor: float = 1.0) -> "Amount":
        """This and `factor` times another."""
        return Amount(*(mine + factor * its for mine, its in zip(self, other, strict=True)))

    def megapixels(self) -> float:
        """In and out together."""
        return self.mp_in + self.mp_out

    def seconds(self, time: ServiceTime) -> float:
        """What they take."""
        return time.seconds(self.mp_in, self.mp_out, self.tasks, self.outputs)


@dataclass(frozen=True, slots=True)
class Sums:
    """What is kept of observed tasks: counts and weighted products, added by `+`. Associative and commutative."""

    n: float = 0.0
    """Tasks; less than were seen once they fade."""
    mp_in: float = 0.0
    mp_out: float = 0.0
    seconds: float = 0.0
    w: float = 0.0
    """Weights. Here and below sums of a task's weight times what the name says."""
    w_in: float = 0.0
    w_out: float = 0.0
    w_s: float = 0.0
    w_in2: float = 0.0
    w_out2: float = 0.0
    w_in_out: float = 0.0
    w_in_s: float = 0.0
    w_out_s: float = 0.0
    outputs: float = 0.0
    """Images that the tasks made: outputs, or tiles for the next step. From here on what earlier builds do not tell."""
    w_outputs: float = 0.0
    w_outputs2: float = 0.0
    w_in_outputs: float = 0.0
    w_out_outputs: float = 0.0
    w_outputs_s: float = 0.0

    @classmethod
    def of(cls, mp_in: float, mp_out: float, seconds: float, outputs: float = 1.0) -> Self:
        """One task."""
        w = 1 / (mp_in + mp_out + WEIGHT_MP)
        return cls(
            n=1.0,
            mp_in=mp_in,
            mp_out=mp_out,
            seconds=seconds,
            w=w,
            w_in=w * mp_in,
            w_out=w * mp_out,
            w_s=w * seconds,
            w_in2=w * mp_in * mp_in,
            w_out2=w * mp_out * mp_out,
            w_in_out=w * mp_in * mp_out,
            w_in_s=w * mp_in * seconds,
            w_out_s=w * mp_out * seconds,
            outputs=outputs,
            w_outputs=w * outputs,
            w_outputs2=w * outputs * outputs,
            w_in_outputs=w * mp_in * outputs,
            w_out_outputs=w * mp_out * outputs,
            w_outputs_s=w * outputs * seconds,
        )

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(*map(add, _values(self), _values(other)))

    def decayed(self, factor: float) -> "Sums":
        """All observations, counted `factor` times each."""
        return Sums(*(value * factor for value in _values(self)))

    def then(self, newer: "Sums", elapsed_s: float) -> "Sums":
        """These sums, faded, and newer ones that came in over the last `elapsed_s` seconds."""
        half_lives = min(newer.n / HALF_LIFE_TASKS, max(elapsed_s, 0.0) / HALF_LIFE_S)
        return self.decayed(0.5**half_lives) + newer

    def as_list(self) -> list[float]:
        """For a message or a database row: the fields in order, to 9 digits."""
        return [float(f"{value:.9g}") for value in _values(self)]

    @classmethod
    def from_list(cls, values: Sequence[float]) -> Self:
        """Back from `as_list`. Of an earlier build, which does not count outputs, each task made one.

        Raises:
            ValueError: this is no such list.
        """
        if len(values) not in (EARLIER_LENGTH, LENGTH):
            raise ValueError(f"sums have {LENGTH} numbers, or {EARLIER_LENGTH}, not {len(values)}")
        found = cls(*(float(value) for value in values))
        return found if len(values) == LENGTH else found._with_one_output()

    def _with_one_output(self) -> Self:
        return replace(
            self,
            outputs=self.n,
            w_outputs=self.w,
            w_outputs2=self.w,
            w_in_outputs=self.w_in,
            w_out_outputs=self.w_out,
            w_outputs_s=self.w_s,
        )

    def expected_s(self, time: ServiceTime) -> float:
        """Seconds that these tasks would have taken with this service time."""
        return time.seconds(self.mp_in, self.mp_out, self.n, self.outputs)


LENGTH = len(fields(Sums))
EARLIER_LENGTH = next(place for place, each in enumerate(fields(Sums)) if each.name == "outputs")
"""Of the list of a build that does not count outputs."""

_values = attrgetter(*(each.name for each in fields(Sums)))  # `astuple` copies deeply, ten times as slow


def fit(sums: Sums, prior: ServiceTime) -> ServiceTime:
    """The service time that fits the observations best, no part of it negative.

    Least squares over the 16 sets of parts that are not zero: exact. The prior is first scaled to the level that was
    observed, then counts as `PRIOR_TASKS` tasks. So where all images have one size, and only the level can be seen,
    the parts have the prior's proportions.
    """
    if sums.n <= 0 or sums.w <= 0:
        return prior
    matrix, right = _normal_equations(sums)
    scaled_prior = prior.scaled(_level(matrix, right, prior, sums.n))
    # In units of each part's typical share of a task, so that the prior weighs the same for all parts.
    units = [sqrt(matrix[j][j] / sums.w) for j in range(_VARIABLES)]
    known = [j for j in range(_VARIABLES) if units[j] > 0]
    strength = PRIOR_TASKS * sums.w / sums.n
    system = [[matrix[j][k] / units[j] / units[k] + strength * (j == k) for k in known] for j in known]
    target = [right[j] / units[j] + strength * scaled_prior[j] * units[j] for j in known]
    solution = _non_negative(system, target)
    parts = list(scaled_prior)
    for j, value in zip(known, solution, strict=True):
        parts[j] = value / units[j]
    return ServiceTime(*parts)


def _normal_equations(sums: Sums) -> tuple[list[list[float]], list[float]]:
    matrix = [
        [sums.w, sums.w_in, sums.w_out, sums.w_outputs],
        [sums.w_in, sums.w_in2, sums.w_in_out, sums.w_in_outputs],
        [sums.w_out, sums.w_in_out, sums.w_out2, sums.w_out_outputs],
        [sums.w_outputs, sums.w_in_outputs, sums.w_out_outputs, sums.w_outputs2],
    ]
    return matrix, [sums.w_s, sums.w_in_s, sums.w_out_s, sums.w_outputs_s]


def _level(matrix: list[list[float]], right: list[float], prior: ServiceTime, n: float) -> float:
    """How many times the prior was observed; 1 counts as `PRIOR_TASKS` observations."""
    indices = range(_VARIABLES)
    squares = sum(prior[j] * matrix[j][k] * prior[k] for j in indices for k in indices)
    if squares <= 0:
        return 1.0
    observed = sum(prior[j] * right[j] for j in indices) / squares
    return max((n * observed + PRIOR_TASKS) / (n + PRIOR_TASKS), 0.0)


def _non_negative(system: list[list[float]], target: list[float]) -> list[float]:
    """The x >= 0 that minimises x'Ax/2 - b'x, by trying each set of parts that are not zero."""
    size = len(target)
    best, best_value = [0.0] * size, 0.0
    for count in range(1, size + 1):
        for active in combinations(range(size), count):
            found = _solve([[system[j][k] for k in active] for j in active], [target[j] for j in active])
            if found is None or min(found) < 0:
                continue
            value = -sum(target[j] * part for j, part in zip(active, found, strict=True)) / 2
            if value < best_value:
                best_value = value
                best = [0.0] * size
                for j, part in zip(active, found, strict=True):
                    best[j] = part
    return best


def _solve(matrix: list[list[float]], right: list[float]) -> list[float] | None:
    """Gaussian elimination of a symmetric positive system; `None` where it is singular."""
    size = len(right)
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    for j in range(size):
        if rows[j][j] <= _SINGULAR * max(1e-300, matrix[j][j]):
            return None
        for i in range(j + 1, size):
            factor = rows[i][j] / rows[j][j]
            rows[i] = [one - factor * other for one, other in zip(rows[i], rows[j], strict=True)]
    solution = [0.0] * size
    for j in reversed(range(size)):
        rest = sum(rows[j][k] * solution[k] for k in range(j + 1, size))
        solution[j] = (rows[j][size] - rest) / rows[j][j]
    return solution
