"""The parts of the long form, and what each came to."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

from tests.chaos.truth import GuaranteeReport
from tests.support.postgres import find_postgres, running_server
from tests.upgrade.builds import Build
from tests.upgrade.ledgers import STATIONS, there_and_back
from tests.upgrade.mixes import Mix
from tests.upgrade.shares import merge_all
from tests.upgrade.survey import MIXES, survey, surveying
from tests.upgrade.walk import ORDERS, Place, walk_through, walking

MIXES_AT_ONCE = 8
"""Of one part."""
PARTS = ("orders", "mixes", "ledgers", "shares")


@dataclass(frozen=True)
class Outcome:
    """What a part did."""

    orders: int = 0
    mixes: int = 0
    ledgers: int = 0
    shares: int = 0
    replaced: int = 0
    batches: int = 0
    commands: int = 0
    problems: tuple[str, ...] = ()
    guarantees: GuaranteeReport = field(default_factory=GuaranteeReport)

    def __add__(self, other: "Outcome") -> "Outcome":
        numbers = ("orders", "mixes", "ledgers", "shares", "replaced", "batches", "commands", "problems", "guarantees")
        return Outcome(**{name: getattr(self, name) + getattr(other, name) for name in numbers})

    @property
    def clean(self) -> bool:
        """Whether nothing was wrong."""
        return self.guarantees.clean and not self.problems

    def __str__(self) -> str:
        return (
            f"upgrade: orders {self.orders}, mixes {self.mixes}, ledgers {self.ledgers}, shares {self.shares}, "
            f"processes replaced {self.replaced}, batches {self.batches}, commands {self.commands}, "
            f"problems {len(self.problems)}, {self.guarantees.counts}"
        )

    def as_row(self) -> dict[str, Any]:
        """For a file."""
        return asdict(self)

    @classmethod
    def of_row(cls, row: dict[str, Any]) -> "Outcome":
        """Read back."""
        return cls(**{**row, "problems": tuple(row["problems"]), "guarantees": GuaranteeReport(**row["guarantees"])})


Part = Callable[[], Outcome]
Run = Callable[[str, Part], None]
"""Runs a part of this name, unless it was run before."""


@dataclass(frozen=True)
class LongForm:
    """Two builds, and where they run."""

    place: Place
    older: Build
    newer: Build

    def run(self, kind: str, run: Run, wanted: Callable[[str], bool]) -> None:
        """Run the parts of a kind that are wanted, each by its name."""
        getattr(self, f"_{kind}")(run, wanted)

    def _orders(self, run: Run, _wanted: Callable[[str], bool]) -> None:
        for number, order in enumerate(ORDERS):
            run(f"order {', '.join(order)}", partial(self._order, number))

    def _order(self, number: int) -> Outcome:
        with walking(self._below(f"order-{number}")) as walk:
            result = walk_through(walk, self.older, self.newer, ORDERS[number : number + 1])
            if not result.guarantees.clean:
                print(walk.harness.tails())
        return Outcome(orders=1, replaced=result.replaced, batches=result.batches, guarantees=result.guarantees)

    def _mixes(self, run: Run, wanted: Callable[[str], bool]) -> None:
        numbers = [range(first, first + MIXES_AT_ONCE) for first in range(0, len(MIXES), MIXES_AT_ONCE)]
        named = {f"mixes {each.start} to {each.stop - 1}": each for each in numbers}
        left = {name: each for name, each in named.items() if wanted(name)}
        if not left:
            return
        with surveying(self._below("mixes"), self.older, self.newer) as mix, told(mix):
            for name, each in left.items():
                run(name, partial(_survey, mix, each))

    def _ledgers(self, run: Run, _wanted: Callable[[str], bool]) -> None:
        run("ledger sqlite", partial(self._ledger, "sqlite", ""))
        if find_postgres() is None:
            print("no PostgreSQL: install Debian's package postgresql")
            return
        with running_server() as server:
            run("ledger postgresql", partial(self._ledger, "postgresql", server.url))

    def _ledger(self, name: str, url: str) -> Outcome:
        with surveying(self._below(name, url), self.older, self.newer) as mix, told(mix):
            there_and_back(mix)
            return taken(mix, mixes=len(STATIONS), ledgers=1)

    def _shares(self, run: Run, _wanted: Callable[[str], bool]) -> None:
        run("shares", self._share)

    def _share(self) -> Outcome:
        with surveying(self._below("shares"), self.older, self.newer) as mix:
            count, problems = merge_all(mix.pair, mix.walk.harness.root("source"), self.place.folder / "shared")
            return Outcome(shares=count, problems=tuple(problems))

    def _below(self, name: str, database_url: str = "") -> Place:
        folder = self.place.folder / name
        folder.mkdir()
        return replace(self.place, folder=folder, database_url=database_url)


def _survey(mix: Mix, numbers: Sequence[int]) -> Outcome:
    survey(mix, numbers)
    return taken(mix, mixes=len(numbers))


def taken(mix: Mix, **what: int) -> Outcome:
    """What a mix has done since it was asked last."""
    counts = {"replaced": mix.walk.replaced, "batches": mix.batches}
    counts["commands"] = sum(cli.count for cli in mix.pair.cli.values())
    found = Outcome(**counts, **what, problems=tuple(mix.problems), guarantees=mix.guarantees)
    mix.walk.replaced = mix.batches = 0
    for cli in mix.pair.cli.values():
        cli.count = 0
    mix.problems.clear()
    mix.guarantees = GuaranteeReport()
    return found


@contextmanager
def told(mix: Mix) -> Iterator[None]:
    """Print what the processes said where a part breaks off."""
    try:
        yield
    except AssertionError:
        print("\n".join(mix.problems))
        raise
