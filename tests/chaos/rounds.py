"""Faults of a whole stack, one after another, while batches run; and a last one after the end of all work."""

import random
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from tests.chaos.harness import LIMIT_S, Harness, document
from tests.chaos.truth import GuaranteeReport

NEXT_FAULT_S = 1.0
"""The next fault comes when the batch has gone on by its share, or when all services were ready for so long."""
START_LIMIT_S = 10.0
"""It comes after this in any case."""
STRUCK_SHARE = 0.8
"""The faults are spread over so much of a batch."""

Kind = TypeVar("Kind")
KindIn_contra = TypeVar("KindIn_contra", contravariant=True)
KindOut_co = TypeVar("KindOut_co", covariant=True)


class Stack(Protocol[KindIn_contra]):
    """A stack that such faults can strike."""

    harness: Harness

    def cut(self, kind: KindIn_contra, dice: random.Random) -> None:
        """One fault; returns when all is up again."""


class Faults(Protocol[KindOut_co]):
    """What strikes one stack, decided by the seed but for the moments."""

    @property
    def seed(self) -> str: ...
    @property
    def images(self) -> int: ...
    @property
    def kinds(self) -> Sequence[KindOut_co]: ...


def rage(stack: Stack[Kind], given: Faults[Kind], images: list[str]) -> GuaranteeReport:
    """Run a batch through the faults; another one with the same images follows where it ends before the last."""
    harness, dice = stack.harness, random.Random(f"{given.seed} moments")
    batches = [_submit(harness, given, images, number=1)]
    first = 0
    for number, kind in enumerate(given.kinds[:-1]):
        share = (number - first + dice.random()) / len(given.kinds) * given.images * STRUCK_SHARE
        _wait_for(harness, batches[-1], share)
        if harness.ended(batches[-1]):
            batches.append(_submit(harness, given, images, number=len(batches) + 1))
            first = number
        stack.cut(kind, dice)
    harness.until_ended(limit_s=LIMIT_S * 2)
    stack.cut(given.kinds[-1], dice)
    harness.until_ended(limit_s=LIMIT_S * 2)
    return replace(harness.guarantees(), faults=len(given.kinds))


def _submit(harness: Harness, given: Faults[object], images: list[str], number: int) -> str:
    sent = document(f"faults-{given.seed}-{number}", images)
    harness.submit(sent)
    return str(sent["batch_id"])


def _wait_for(harness: Harness, batch: str, share: float) -> None:
    """A share of the batch is done; or all has been up for a while, or not even that within its limit."""
    ready_s = began_s = time.monotonic()

    def now() -> bool:
        nonlocal ready_s
        now_s = time.monotonic()
        if not all(service.ready for service in harness.services.values()):
            ready_s = now_s
        late = now_s - ready_s > NEXT_FAULT_S or now_s - began_s > START_LIMIT_S
        return late or harness.done_images(batch) >= share

    harness.until(now, "the next fault")
