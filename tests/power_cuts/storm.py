"""Power cuts of any part of a stack, or of all, while batches run; afterwards all power goes once more."""

import random
import time
from dataclasses import dataclass, replace
from pathlib import Path

from tests.chaos.harness import LIMIT_S, document
from tests.chaos.pictures import write_pictures
from tests.chaos.truth import GuaranteeReport
from tests.power_cuts.stack import PARTS, Layout, LedgerKind, Part, PowerStack, power_stack

CUTS_PER_ROUND = 10
"""On one stack; a round has volumes of its own."""
IMAGES = 120
KINDS: tuple[tuple[tuple[Part, ...], int], ...] = (
    (("store",), 4),
    (("ledger",), 3),
    (("broker",), 2),
    (("store", "ledger"), 1),
    (("store", "broker"), 1),
    (("ledger", "broker"), 1),
    (PARTS, 4),
)
"""What is cut, and how often in comparison."""
PATIENCE_S = 1.0
"""The next cut comes when the batch has gone on by its share, or when all services were ready for so long."""
START_LIMIT_S = 10.0
"""It comes after this in any case."""
CUT_SHARE = 0.8


@dataclass(frozen=True)
class Round:
    """So many cuts of one stack, all decided by the seed but for their moments."""

    seed: str
    cuts: int
    images: int
    layout: Layout
    kinds: tuple[tuple[Part, ...], ...]


def round_of(seed: int, number: int, cuts: int = CUTS_PER_ROUND, images: int = IMAGES) -> Round:
    """Round `number` of a seed. The last of its cuts is one of all parts, after the batch has ended."""
    name = f"{seed}-{number}"
    dice = random.Random(name)
    systems: dict[Part, str] = {part: dice.choice(("ext4", "xfs")) for part in PARTS}
    ledgers: tuple[LedgerKind, ...] = ("sqlite", "sqlite", "postgresql")
    layout = Layout(systems, dice.choice(ledgers), whole_route=dice.random() < 0.35)
    kinds = dice.choices([kind for kind, _ in KINDS], [weight for _, weight in KINDS], k=cuts - 1)
    return Round(name, cuts, images, layout, (*(tuple(dice.sample(kind, len(kind))) for kind in kinds), PARTS))


def rage(stack: PowerStack, given: Round, images: list[str]) -> GuaranteeReport:
    """Run a batch through the cuts; another one with the same images follows where it ends before the last."""
    harness, dice = stack.harness, random.Random(f"{given.seed} moments")
    batches = [_submit(stack, given, images, number=1)]
    first = 0
    for number, parts in enumerate(given.kinds[:-1]):
        _wait_for(stack, batches[-1], (number - first + dice.random()) / given.cuts * given.images * CUT_SHARE)
        if harness.ended(batches[-1]):
            batches.append(_submit(stack, given, images, number=len(batches) + 1))
            first = number
        stack.cut(parts, dice)
    harness.until_ended(*batches, limit_s=LIMIT_S * 2)
    stack.cut(given.kinds[-1], dice)
    harness.until(lambda: all(harness.status(batch) is not None for batch in batches), "the status after the last cut")
    return replace(harness.guarantees(*batches), faults=given.cuts)


def run_round(given: Round, folder: Path, left_out: str | None = None) -> GuaranteeReport:
    """One round on a stack of its own, all of whose services may leave a sync out."""
    with power_stack(folder, given.layout, f"{left_out}=skip" if left_out else "") as stack:
        images = write_pictures(stack.harness.root("source"), given.images)
        guarantees = rage(stack, given, images)
        kept = {part: volume.kept for part, volume in stack.volumes.items() if volume.kept}
        assert not kept, f"files that nobody synced survived a cut: {kept}"
        assert guarantees.clean, f"{given.layout}: {guarantees}\n{stack.harness.tails(4000)}"
        return guarantees


def _submit(stack: PowerStack, given: Round, images: list[str], number: int) -> str:
    sent = document(f"cuts-{given.seed}-{number}", images)
    stack.harness.submit(sent)
    return str(sent["batch_id"])


def _wait_for(stack: PowerStack, batch: str, share: float) -> None:
    """A share of the batch is done; or all has been up for a while, or not even that within its limit."""
    harness = stack.harness
    ready_s = began_s = time.monotonic()

    def now() -> bool:
        nonlocal ready_s
        now_s = time.monotonic()
        if not all(service.ready for service in harness.services.values()):
            ready_s = now_s
        late = now_s - ready_s > PATIENCE_S or now_s - began_s > START_LIMIT_S
        return late or harness.done_images(batch) >= share

    harness.until(now, "the next cut")
