"""What a batch needs, held against limits: one rule for the coordinator, which decides, and for gateways.

An image whose size is not known counts as the largest that is allowed.
"""

from dataclasses import dataclass, field

from muniflow.errors import Fault, Rejected
from muniflow.forecast.price import ImagePrice, PriceList
from muniflow.forecast.sizes import SizeSample
from muniflow.images.limits import DEFAULT_LIMITS, ImageLimits
from muniflow.model.batch import Batch
from muniflow.model.budget import Amounts, batch_faults, day_faults
from muniflow.model.messages import leaf_count
from muniflow.model.operation import Size
from muniflow.reason_codes import RefusalCode
from muniflow.runtime.budgets import BudgetSettings

_CODES: dict[str, RefusalCode] = {"output_too_large": "output_too_large", "too_much_work": "too_much_work"}


@dataclass(frozen=True)
class Needed:
    """What a batch needs, and what is wrong with that."""

    amounts: Amounts
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True)
class Budgets:
    """The limits of images, batches and owners."""

    settings: BudgetSettings = field(default_factory=BudgetSettings)
    limits: ImageLimits = DEFAULT_LIMITS

    def is_charged(self, owner: str) -> bool:
        """Whether what an owner asks for on a day is limited, and so counted."""
        return self.settings.of_day(owner).limited

    def list_faults(self, batch: Batch, count: int) -> tuple[Fault, ...]:
        """Why a batch of so many images is too large, whatever their sizes."""
        known = Amounts(images=count, outputs=count * leaf_count(batch.route))
        return self._batch_faults(batch, known)

    def asks_sizes(self, batch: Batch, prices: PriceList) -> bool:
        """Whether the sizes of its images decide: by themselves, or as the largest image would be refused."""
        of_batch, of_day = self.settings.of_batch(batch.owner), self.settings.of_day(batch.owner)
        if of_batch.needs_sizes or of_day.needs_sizes:
            return True
        return self.image_problem(prices.largest(self.limits.max_pixels)) is not None

    def image_problem(self, price: ImagePrice, source: Size | None = None) -> Rejected | None:
        """Why one image is too dear; a size that is not known is the largest."""
        source_px = self.limits.max_pixels if source is None else source.pixels
        return self.limits.too_large(price.most_px, source_px) or self.limits.too_long(price.seconds)

    def needed(self, batch: Batch, prices: PriceList, sample: SizeSample) -> Needed:
        """What a batch of images of these sizes needs.

        It is refused when nothing would come of it. An image that is too dear, among others, fails by itself.
        """
        largest = prices.largest(self.limits.max_pixels)
        amounts = prices.amounts(sample, largest)
        problems = [
            self.image_problem(prices.price(entry.picture), entry.picture.size)
            if entry.picture
            else self.image_problem(largest)
            for entry in sample.entries
        ]
        if problems and all(problems):
            known = next((place for place, entry in enumerate(sample.entries) if entry.picture), None)
            return Needed(amounts, (_of_all(problems[known or 0], known=known is not None),))
        return Needed(amounts, self._batch_faults(batch, amounts))

    def day_faults(self, owner: str, needed: Amounts, spent: Amounts) -> tuple[Fault, ...]:
        """Why an owner has not enough left today; `spent` was charged before."""
        return day_faults(needed, spent, self.settings.of_day(owner), owner, self.settings.named(owner, "day"))

    def _batch_faults(self, batch: Batch, needed: Amounts) -> tuple[Fault, ...]:
        owner = batch.owner
        return batch_faults(needed, self.settings.of_batch(owner), self.settings.named(owner, "batch"))


def _of_all(problem: Rejected | None, *, known: bool) -> Fault:
    """The fault of a batch when every image is over the budget."""
    unknown = "" if known else "no image can be read, and one whose size is not known counts as the largest: "
    return image_fault("operations", f"{unknown}{problem}", problem or Rejected(""))


def image_fault(place: str, text: str, problem: Rejected) -> Fault:
    """A fault for an image that is too dear."""
    return Fault(place, text, _CODES.get(problem.reason_code))
