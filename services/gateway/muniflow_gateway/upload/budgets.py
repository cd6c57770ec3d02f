"""Budgets at the gateway: says early, and with the right status, what the coordinator would refuse."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from muniflow.errors import Fault, MuniflowError
from muniflow.forecast.price import PriceList
from muniflow.forecast.sizes import Picture, SizeSample
from muniflow.model.batch import read_batch
from muniflow.model.budget import Amounts, day_ends_in_s
from muniflow.model.messages import Notice
from muniflow.model.operation import Operations
from muniflow.planning.budgets import Budgets, Needed, image_fault
from muniflow.reason_codes import REFUSALS
from muniflow_gateway.clients.coordinator import CoordinatorClient
from muniflow_gateway.problems import Problem, invalid


@dataclass(frozen=True)
class BudgetCheck:
    """Holds forms against the budgets, and turns what the coordinator refuses into answers."""

    budgets: Budgets
    operations: Operations
    coordinator: CoordinatorClient

    def needed(self, document: bytes, owner: str, images: Mapping[Fault, Picture | None]) -> Needed:
        """What a checked document with these images needs. Takes milliseconds, more for many tiles.

        Args:
            document: the batch.
            owner: who sends it.
            images: what the header of each says, by its place, with its name as the problem; `None`: not known, so it
                counts as the largest.

        Returns:
            The amounts, and a fault for each image that is too large and for each amount of the batch.
        """
        if not images:
            return Needed(Amounts())
        batch = read_batch(document, self.operations, owner)
        prices = PriceList.of(batch, self.operations)
        largest = prices.largest(self.budgets.limits.max_pixels)
        faults = []
        for file, picture in images.items():
            price, size = (prices.price(picture), picture.size) if picture else (largest, None)
            if (problem := self.budgets.image_problem(price, size)) is not None:
                faults.append(image_fault(file.place, f"{file.problem}: {problem}", problem))
        pictures = list(images.values())
        needed = self.budgets.needed(batch, prices, SizeSample.of(len(pictures), range(len(pictures)), pictures))
        # Where each image is too large, that is all there is to say of the batch.
        return Needed(needed.amounts, tuple(faults) if len(faults) == len(images) else (*faults, *needed.faults))

    async def require_left(self, owner: str, needed: Amounts) -> None:
        """Refuse what an owner has not enough left for today. The coordinator decides; where it is away, it will.

        Raises:
            Problem: 429.
        """
        if not self.budgets.is_charged(owner):
            return
        try:
            status = await self.coordinator.budgets(owner)
        except MuniflowError:
            return
        if faults := self.budgets.day_faults(owner, needed, status.spent):
            raise _tomorrow(faults)


def refusal(notice: Notice) -> Problem:
    """What the refusal of a batch by the coordinator means over HTTP."""
    return refusal_of(notice.faults, HTTPStatus.CONFLICT, "the coordinator refuses the batch")


def refusal_of(told: Iterable[Mapping[str, str | None]], status: HTTPStatus, detail: str) -> Problem:
    """What the faults of a refused batch mean over HTTP; `status` and `detail` where none of them says "too much"."""
    faults = _faults(told)
    codes = {fault.reason_code for fault in faults}
    if "day_budget" in codes:
        return _tomorrow(faults)
    if codes - {None}:
        return invalid(faults)
    return Problem(status, detail, faults)


def _faults(told: Iterable[Mapping[str, str | None]]) -> tuple[Fault, ...]:
    """A code of a later build is left out."""
    return tuple(
        Fault(
            fault.get("place") or "",
            fault.get("problem") or "",
            next((code for code in REFUSALS if code == fault.get("reason_code")), None),
        )
        for fault in told
    )


def _tomorrow(faults: tuple[Fault, ...]) -> Problem:
    detail = "; ".join(str(fault) for fault in faults)
    wait_s = day_ends_in_s(time.time())
    return Problem(HTTPStatus.TOO_MANY_REQUESTS, detail, faults, reason="budget", retry_after_s=wait_s)
