"""How far forecasts were off: as a table. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from benchmarks.statistics import percentile
from benchmarks.tables import Result

UNKNOWN = "-"
WARM_UP = 10
"""The first batches, from which the model learns what this machine takes; the last table row leaves them out."""


@dataclass(frozen=True)
class BatchGrade:
    """One batch."""

    mix: str
    route: str
    images: int
    together: int
    """Batches that were sent at once."""
    p50_s: float
    p90_s: float
    began_at: float
    ended_at: float
    eta_ratio: float | None
    """What was left at a quarter of it as forecast, over what it took."""
    slowness: float = 1.0
    """Of this machine while it ran, over the whole benchmark."""

    @property
    def actual_s(self) -> float:
        """What it took."""
        return self.ended_at - self.began_at

    @property
    def error(self) -> float:
        """Of p50, as a part of what it took."""
        return self.p50_s / self.actual_s - 1

    @property
    def corrected_error(self) -> float:
        """The same, had the machine been as fast as over the whole benchmark."""
        return self.p50_s / (self.actual_s / self.slowness) - 1

    @property
    def text(self) -> str:
        """One line."""
        eta = "" if self.eta_ratio is None else f", ETA at a quarter {self.eta_ratio - 1:+.0%}"
        beside = " beside another" if self.together > 1 else ""
        times = f"planned {self.p50_s:5.1f} s (p90 {self.p90_s:5.1f}), took {self.actual_s:5.1f} s: {self.error:+.0%}"
        return f"{times}{eta}  {self.images} images, {self.mix}, {self.route}{beside}"


def table(grades: Sequence[BatchGrade], seed: int) -> Result:
    """Errors by kind of batch, and of all."""
    kinds: list[tuple[str, Callable[[BatchGrade], bool]]] = [
        ("one size", lambda one: one.mix not in {"mixed", "small, then large"}),
        ("mixed sizes", lambda one: one.mix == "mixed"),
        ("small, then large", lambda one: one.mix == "small, then large"),
        ("alone", lambda one: one.together == 1),
        ("beside another batch", lambda one: one.together > 1),
        ("all", lambda _: True),
    ]
    rows = [_row(name, [one for one in grades if chosen(one)]) for name, chosen in kinds]
    rows.append(_row(f"all but the first {WARM_UP}", list(grades[WARM_UP:])))
    header = (
        "batches",
        "number",
        "median error",
        "p90 of it",
        "corrected",
        "p90 of it",
        "within p90",
        "ETA at 25%",
        "worst",
    )
    notes = (
        "error: of p50 against what it took; corrected: had the machine been as fast as in the median of the whole run",
        f"{len(grades)} batches, seed {seed}; ETA: error of what is left, at a quarter of the images",
    )
    raw = [asdict(one) for one in grades]
    return Result("Forecasts, planned before and graded after", header, tuple(rows), notes, raw)


def _row(name: str, grades: Sequence[BatchGrade]) -> tuple[str, ...]:
    if not grades:
        return (name, "0", *[UNKNOWN] * 7)
    raw = sorted(abs(one.error) for one in grades)
    corrected = sorted(abs(one.corrected_error) for one in grades)
    etas = sorted(abs(one.eta_ratio - 1) for one in grades if one.eta_ratio is not None)
    within = sum(one.actual_s <= one.p90_s for one in grades)
    return (
        name,
        str(len(grades)),
        f"{median(raw):.0%}",
        f"{percentile(raw, 90):.0%}",
        f"{median(corrected):.0%}",
        f"{percentile(corrected, 90):.0%}",
        f"{within} of {len(grades)}",
        f"{median(etas):.0%}" if etas else UNKNOWN,
        f"{etas[-1]:.0%}" if etas else UNKNOWN,
    )
