"""Three coordinators on a PostgreSQL whose standby is promoted: `python -m tests.chaos.failover --kills 300 --seed 7`.

The last line says it all. Faults come in rounds, each on a stack of its own. With `--out FILE` each round is a line of
JSON there, and a round that is there already is not run again: so a run that was broken off goes on.
"""

import argparse
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from tests.chaos.harness import Harness
from tests.chaos.pictures import write_pictures
from tests.chaos.rounds import rage
from tests.chaos.storm import VARIABLES, Storm, Target, strike
from tests.chaos.truth import GuaranteeReport, total
from tests.support.postgres_pair import PostgresPair, running_pair
from tests.support.rows import Rows

from muniflow.runtime.settings import BrokerSettings
from muniflow_cli.stack.broker import PrivateBroker
from muniflow_cli.stack.ports import free_ports

Kind = Target | Literal["database"]
DATABASE: Literal["database"] = "database"
COORDINATORS = 3
KILLS_PER_ROUND = 30
DATABASE_EVERY, FIRST = 15, 3
"""Each fault of this number is a crash of the database, beginning with the `FIRST`."""


@dataclass(frozen=True)
class Round:
    """The faults of one stack."""

    seed: str
    images: int
    kinds: tuple[Kind, ...]


def round_of(seed: int, number: int, kills: int, images: int) -> Round:
    """Round `number` of a seed."""
    targets = Storm(kills, images, 1000 * seed + number).targets
    kinds: list[Kind] = [kind if place % DATABASE_EVERY != FIRST else DATABASE for place, kind in enumerate(targets)]
    return Round(f"failover-{seed}-{number}", images, tuple(kinds))


def rounds_of(seed: int, kills: int, images: int) -> list[Round]:
    """All rounds of so many faults; each has its share of the images."""
    shares = [min(KILLS_PER_ROUND, kills - first) for first in range(0, kills, KILLS_PER_ROUND)]
    return [round_of(seed, number, share, -(-images * share // kills)) for number, share in enumerate(shares, 1)]


@dataclass
class FailoverStack:
    """The stack and its database."""

    harness: Harness
    database: PostgresPair

    def cut(self, kind: Kind, dice: random.Random) -> None:
        """One fault; a crash of the database is over when work has gone on and there is a new standby."""
        if kind != DATABASE:
            self.harness.until(lambda: strike(self.harness, kind, dice), "something to kill")
            return
        self.database.fail_over()
        before = self.harness.settled_images()
        self.harness.until(lambda: self.harness.settled_images() > before or self.harness.all_ended(), "work goes on")
        self.database.join()


@contextmanager
def failover_stack(folder: Path, broker: BrokerSettings, node: PrivateBroker | None) -> Iterator[FailoverStack]:
    """A stack that runs."""
    with running_pair() as pair:
        harness = Harness(folder, broker, node, variables=VARIABLES, database_url=pair.url)
        first = harness.coordinator
        for number, port in enumerate(free_ports(COORDINATORS - 1), 2):
            name = f"coordinator-{number}"
            log = first.log.with_name(f"{name}.log")
            harness.services[name] = replace(first, name=name, port=port, log=log, sessions=[])
        with harness:
            harness.until_ready()
            yield FailoverStack(harness, pair)


def run_round(given: Round, folder: Path, broker: BrokerSettings, node: PrivateBroker | None) -> GuaranteeReport:
    """One round on a stack of its own."""
    with failover_stack(folder, broker, node) as stack:
        images = write_pictures(stack.harness.root("source"), given.images)
        found = rage(stack, given, images)
        stack.harness.until_clean()
        assert found.clean, f"{found}\n{stack.harness.tails(4000)}"
        return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run rounds."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.failover", description=__doc__)
    parser.add_argument("--kills", type=int, default=300, help="SIGKILLs, and crashes of the database")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1, help="repeats what is killed, in which order")
    parser.add_argument("--out", type=Path, help="a file of JSON lines, which is added to")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing is left running
    rows, wanted = Rows(given.out, "round"), []
    for each in rounds_of(given.seed, given.kills, given.images):
        if (name := f"{each.seed} {len(each.kinds)} {each.images}") not in rows.known:
            began_s = time.monotonic()
            found = _run(each)
            print(f"{each.seed}: {found}, {time.monotonic() - began_s:.0f} s", flush=True)
            promoted = each.kinds.count(DATABASE)
            rows.add({"round": name, "promoted": promoted, "guarantees": asdict(found)})
        wanted.append(rows.known[name])
    together = replace(total([GuaranteeReport(**row["guarantees"]) for row in wanted]), seed=given.seed)
    print(f"failover: promoted {sum(row['promoted'] for row in wanted)}, {together}")
    return 0 if together.clean else 1


def _run(each: Round) -> GuaranteeReport:
    with tempfile.TemporaryDirectory(prefix="muniflow-failover-") as name:
        folder = Path(name)
        with PrivateBroker(folder / "rabbitmq") as node:
            return run_round(each, folder, BrokerSettings(amqp_url=node.amqp_url), node)


if __name__ == "__main__":
    sys.exit(main())
