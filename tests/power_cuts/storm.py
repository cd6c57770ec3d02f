"""Power cuts of any part of a stack, or of all, while batches run; afterwards all power goes once more."""

import random
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.pictures import write_pictures
from tests.chaos.rounds import rage
from tests.chaos.truth import GuaranteeReport
from tests.power_cuts.stack import PARTS, Layout, LedgerKind, Part, power_stack

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


def run_round(given: Round, folder: Path, left_out: str | None = None) -> GuaranteeReport:
    """One round on a stack of its own, all of whose services may leave a sync out."""
    with power_stack(folder, given.layout, f"{left_out}=skip" if left_out else "") as stack:
        images = write_pictures(stack.harness.root("source"), given.images)
        guarantees = rage(stack, given, images)
        kept = {part: volume.kept for part, volume in stack.volumes.items() if volume.kept}
        assert not kept, f"files that nobody synced survived a cut: {kept}"
        assert guarantees.clean, f"{given.layout}: {guarantees}\n{stack.harness.tails(4000)}"
        return guarantees
