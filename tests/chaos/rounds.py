"""Faults of a whole stack, one after another, while batches run; and a last one after the end of all work."""

import argparse
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from tests.chaos.harness import LIMIT_S, Harness, document
from tests.chaos.truth import GuaranteeReport, total
from tests.support.rows import Rows

NEXT_FAULT_S = 1.0
"""The next fault comes when the batch has gone on by its share, or when all services were ready for so long."""
START_LIMIT_S = 10.0
"""It comes after this in any case."""
STRUCK_SHARE = 0.8
"""The faults are spread over so much of a batch."""
FAULTS_PER_ROUND = 30

Kind = TypeVar("Kind")
KindIn_contra = TypeVar("KindIn_contra", contravariant=True)
KindOut_co = TypeVar("KindOut_co", covariant=True)


class Stack(Protocol[KindIn_contra]):
    """A stack that such faults can strike."""

    @property
    def harness(self) -> Harness: ...

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


# Long runs, in rounds


def shares(faults: int, images: int) -> list[tuple[int, int, int]]:
    """Rounds of so many faults: the number of each, its faults and its share of the images."""
    counts = [min(FAULTS_PER_ROUND, faults - first) for first in range(0, faults, FAULTS_PER_ROUND)]
    return [(number, count, -(-images * count // faults)) for number, count in enumerate(counts, 1)]


def parse_rounds(program: str, about: str | None, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the arguments of a long run."""
    parser = argparse.ArgumentParser(prog=program, description=about)
    parser.add_argument("--kills", type=int, default=300, help="SIGKILLs and other faults")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1, help="repeats what is struck, in which order")
    parser.add_argument("--out", type=Path, help="a file of JSON lines, which is added to")
    return parser.parse_args(arguments)


RoundT = TypeVar("RoundT", bound=Faults[Any])


def conduct(
    title: str,
    counted: str,
    rounds: Sequence[RoundT],
    run: Callable[[RoundT, Path], tuple[GuaranteeReport, int]],
    given: argparse.Namespace,
) -> int:
    """Run the rounds that `given.out` does not have yet, each in a folder of its own; returns the exit code.

    Args:
        title: of the last line, which says it all.
        counted: what a round counts beside the guarantees.
        rounds: all of them.
        run: runs one.
        given: the arguments of the command.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing is left running
    rows, wanted = Rows(given.out, "round"), []
    for each in rounds:
        if (name := f"{each.seed} {len(each.kinds)} {each.images}") not in rows.known:
            began_s = time.monotonic()
            with tempfile.TemporaryDirectory(prefix=f"muniflow-{title}-") as folder:
                found, count = run(each, Path(folder))
            print(f"{each.seed}: {found}, {time.monotonic() - began_s:.0f} s", flush=True)
            rows.add({"round": name, counted: count, "guarantees": asdict(found)})
        wanted.append(rows.known[name])
    together = replace(total([GuaranteeReport(**row["guarantees"]) for row in wanted]), seed=given.seed)
    print(f"{title}: {counted} {sum(row[counted] for row in wanted)}, {together}")
    return 0 if together.clean else 1
