"""Budgets: what a batch, and an owner on one day, may ask for. Pure.

A day is one of UTC.
"""

from collections.abc import Mapping
from operator import add
from typing import Annotated, ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from muniflow.errors import Fault
from muniflow.reason_codes import RefusalCode

DAY_S = 86_400
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Amounts(NamedTuple):
    """What work asks for, and what is counted of it."""

    images: float = 0.0
    outputs: float = 0.0
    megapixels: float = 0.0
    """Made by all steps together."""
    mebibytes: float = 0.0
    """Of all outputs before they are encoded, which is the most that they take."""
    seconds: float = 0.0
    """Compute time of one core, by the documented costs."""

    def plus(self, other: "Amounts") -> "Amounts":
        """Both together."""
        return Amounts(*map(add, self, other))

    def times(self, part: float) -> "Amounts":
        """A part of them."""
        return Amounts(*(amount * part for amount in self))


PLACES: Mapping[str, str] = {"images": "images", **dict.fromkeys(Amounts._fields[1:], "operations")}
"""The field of a batch that an amount comes from."""


class Budget(BaseModel):
    """The most of each amount; 0: no limit."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    images: Amount = 0.0
    outputs: Amount = 0.0
    megapixels: Amount = 0.0
    mebibytes: Amount = 0.0
    seconds: Amount = 0.0

    @property
    def limited(self) -> bool:
        """Whether anything is."""
        return any(value for _, value in self)

    @property
    def needs_sizes(self) -> bool:
        """Whether the sizes of images count."""
        return bool(self.megapixels or self.mebibytes or self.seconds)

    def other_than(self, given: "Budget") -> "Budget":
        """This one, with what `given` sets itself."""
        return self.model_copy(update={name: getattr(given, name) for name in given.model_fields_set})


class BatchBudget(Budget):
    """Of one batch."""

    images: Amount = 2_000_000.0


class OwnerBudgets(BaseModel):
    """What differs for one owner."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    batch: Budget = Budget()
    day: Budget = Budget()


def batch_faults(needed: Amounts, budget: Budget, setting: str) -> tuple[Fault, ...]:
    """Why a batch is too large, by amount.

    Args:
        needed: by the batch.
        budget: of one batch.
        setting: where the limits are set.
    """
    return tuple(
        _fault(name, f"the batch needs {_text(name, amount)}; one batch may have {_text(name, limit)}", setting)
        for name, amount in needed._asdict().items()
        if (limit := getattr(budget, name)) and amount > limit
    )


def day_faults(needed: Amounts, spent: Amounts, budget: Budget, owner: str, setting: str) -> tuple[Fault, ...]:
    """Why an owner has not enough left for a batch today, by amount; `spent` is what was charged today."""
    found = []
    for name, amount in needed._asdict().items():
        limit, before = getattr(budget, name), getattr(spent, name)
        if limit and before + amount > limit:
            left = _text(name, max(limit - before, 0.0))
            text = f"the batch needs {_text(name, amount)}; of the {_text(name, limit)} a day {owner!r} has {left} left"
            found.append(_fault(name, f"{text}, until midnight UTC", setting, "day_budget"))
    return tuple(found)


def day_of(now_s: float) -> int:
    """The day of a unix time, counted from 1970."""
    return int(now_s // DAY_S)


def day_ends_in_s(now_s: float) -> float:
    """Seconds until the next day."""
    return (day_of(now_s) + 1) * DAY_S - now_s


def _fault(name: str, text: str, setting: str, code: RefusalCode = "batch_budget") -> Fault:
    return Fault(PLACES[name], f"{text} ({setting}, `{name}`)", code)


def _text(name: str, amount: float) -> str:
    return f"{amount:,.0f} {name}" if amount >= 100 else f"{amount:.4g} {name}"  # noqa: PLR2004 - three digits say it
