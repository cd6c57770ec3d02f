"""Faults of a cluster of three brokers while batches run, decided by a seed."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.pictures import write_pictures
from tests.chaos.rounds import rage
from tests.three_brokers.cluster import TICK_S
from tests.three_brokers.stack import ClusterStack, Kind, cluster_stack

FAULTS_PER_ROUND = 12
"""On one cluster."""
IMAGES = 400
"""In each batch."""
KINDS: dict[Kind, int] = {
    "kill": 4, "kill leaders": 3, "kill two": 1, "kill all": 1, "minority": 4, "one way": 3, "apart": 1, "clients": 2,
    "memory": 2, "move": 2, "roll": 1,
}  # fmt: skip
"""How often each kind strikes in comparison; before any comes twice, each comes once."""


@dataclass(frozen=True)
class Round:
    """The faults of one cluster."""

    seed: str
    images: int
    kinds: tuple[Kind, ...]


def round_of(seed: int, number: int, faults: int = FAULTS_PER_ROUND, images: int = IMAGES) -> Round:
    """Round `number` of a seed."""
    name = f"{seed}-{number}"
    dice = random.Random(name)
    kinds = dice.sample(list(KINDS), min(faults - 1, len(KINDS)))
    kinds += dice.choices(list(KINDS), list(KINDS.values()), k=faults - 1 - len(kinds))
    return Round(name, images, (*kinds, "kill all"))


def run_round(given: Round, folder: Path, tick_s: int = TICK_S, upgrade: Path | None = None) -> ClusterStack:
    """One round on a cluster of its own."""
    with cluster_stack(folder, tick_s, upgrade) as stack:
        images = write_pictures(stack.harness.root("source"), given.images)
        stack.guarantees = rage(stack, given, images)
        assert stack.guarantees.clean, f"{stack.guarantees}\n{stack.harness.tails(4000)}"
        return stack


def rounds_of(seed: int, faults: int, images: int) -> list[Round]:
    """All rounds of so many faults."""
    shares = [min(FAULTS_PER_ROUND, faults - first) for first in range(0, faults, FAULTS_PER_ROUND)]
    return [round_of(seed, number, share, images) for number, share in enumerate(shares, 1)]


def pauses(rounds: Sequence[Mapping[Kind, list[float]]]) -> str:
    """The median and the longest pause for each kind, one a line."""
    lines = []
    for kind in KINDS:
        found = sorted(pause_s for pauses_s in rounds for pause_s in pauses_s.get(kind, ()))
        if found:
            lines.append(f"{kind}: {len(found)}, median {found[len(found) // 2]:.1f} s, longest {found[-1]:.1f} s")
    return "\n".join(lines)
