"""Three coordinators on a PostgreSQL whose standby is promoted: `python -m tests.chaos.failover --kills 300 --seed 7`.

The last line says it all. Faults come in rounds, each on a stack of its own. With `--out FILE` each round is a line of
JSON there, and a round that is there already is not run again: so a run that was broken off goes on.
"""

import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from tests.chaos.harness import Harness
from tests.chaos.pictures import write_pictures
from tests.chaos.rounds import conduct, parse_rounds, rage, shares
from tests.chaos.storm import VARIABLES, Storm, Target, strike
from tests.chaos.truth import GuaranteeReport
from tests.support.postgres_pair import PostgresPair, running_pair

from muniflow.runtime.settings import BrokerSettings
from muniflow_cli.stack.broker import PrivateBroker
from muniflow_cli.stack.ports import free_ports

Kind = Target | Literal["database"]
DATABASE: Literal["database"] = "database"
COORDINATORS = 3
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
    return [round_of(seed, *share) for share in shares(kills, images)]


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
    given = parse_rounds("python -m tests.chaos.failover", __doc__, arguments)
    return conduct("failover", "promoted", rounds_of(given.seed, given.kills, given.images), _run, given)


def _run(each: Round, folder: Path) -> tuple[GuaranteeReport, int]:
    with PrivateBroker(folder / "rabbitmq") as node:
        found = run_round(each, folder, BrokerSettings(amqp_url=node.amqp_url), node)
    return found, each.kinds.count(DATABASE)


if __name__ == "__main__":
    sys.exit(main())
