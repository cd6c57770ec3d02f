"""What a step did, as numbers that add up: of one task, of a group, of a batch. Declared here and nowhere else."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self


@dataclass(slots=True)
class StepSums:
    """Counts and costs of one step.

    A field that is added here, and in `add`, is measured (`muniflow.compute.outcome.StepMeasure`), kept by the
    coordinator for its batch, and wanted of the two models that travel: `Tally`, and `StepProgress` if clients are to
    see it.
    """

    done: int = 0
    """Images or tiles that went in and came out."""
    failed: int = 0
    """Images or tiles."""
    pixels: int = 0
    """Pixels that went in."""
    compute_s: float = 0.0
    """The pixel function alone."""

    def add(self, other: "StepSums") -> None:
        """Add what was done besides."""
        self.done += other.done
        self.failed += other.failed
        self.pixels += other.pixels
        self.compute_s += other.compute_s

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """Sums by name. Other names are left out: a later build may have written more."""
        return cls(**{name: values[name] for name in SUMS if name in values})

    def values(self, seconds_digits: int | None = None) -> dict[str, Any]:
        """The sums by name; with `seconds_digits` decimals of what is no whole number."""
        found = {name: getattr(self, name) for name in SUMS}
        if seconds_digits is None:
            return found
        return {name: round(value, seconds_digits) for name, value in found.items()}


SUMS = tuple(each.name for each in fields(StepSums))
