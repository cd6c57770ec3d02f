"""A long run: `python -m tests.soak --minutes 60 --folder soak`. Mixed traffic with restarts; nothing may grow.

It goes in legs of two minutes. The folder keeps the stack's own files and a line of JSON for each leg: the same command
goes on after the last leg, with what is there. The last line says it all.
"""

import argparse
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from tests.chaos.harness import Harness
from tests.chaos.pictures import write_pictures
from tests.chaos.storm import VARIABLES
from tests.chaos.truth import GuaranteeReport, total
from tests.soak.measures import growing, measure
from tests.soak.traffic import Traffic
from tests.support.rows import Row, Rows

from muniflow.runtime.settings import BrokerSettings
from muniflow_cli.stack.broker import PrivateBroker

LEG_S = 120.0
IMAGES = 60
"""In each batch."""
BROKER_S = 300.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--leg-s", type=float, default=LEG_S, help="from one look at memory and files to the next")
    parser.add_argument("--images", type=int, default=IMAGES, help="in each batch")
    parser.add_argument("--seed", type=int, default=1, help="repeats how processes are ended")
    parser.add_argument("--folder", type=Path, required=True, help="kept; the same one goes on")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing is left running
    given.folder.mkdir(parents=True, exist_ok=True)
    rows = Rows(given.folder / "legs.jsonl", "leg")
    legs = range(1, max(round(given.minutes * 60 / given.leg_s), 1) + 1)
    if any(leg not in rows.known for leg in legs):
        with running(given.folder.resolve(), given.images, given.seed) as traffic:
            for leg in legs:
                if leg not in rows.known:
                    rows.add(row_of(traffic, leg, given.leg_s))
                    print(f"leg {leg}: {rows.known[leg]}", flush=True)
    return conclude([rows.known[leg] for leg in legs], given.seed)


@contextmanager
def running(folder: Path, images: int, seed: int) -> Iterator[Traffic]:
    """A stack on files that may be there already."""
    with PrivateBroker(folder / "rabbitmq", start_timeout_s=BROKER_S) as node:
        broker = BrokerSettings(amqp_url=node.amqp_url)
        with Harness(folder, broker, node, variables=VARIABLES, goes_on=True) as harness:
            names = write_pictures(harness.root("source"), images, seed)
            harness.until_ready()
            yield Traffic(harness, names, seed)


def row_of(traffic: Traffic, leg: int, seconds: float) -> Row:
    """Run a leg; returns what it did and what is there after it."""
    before = replace(traffic, guarantees=GuaranteeReport())
    traffic.guarantees = GuaranteeReport()
    traffic.leg(leg, seconds)
    return {
        "leg": leg,
        "batches": traffic.batches - before.batches,
        "restarts": traffic.restarts - before.restarts,
        "guarantees": asdict(traffic.guarantees),
        "measures": measure(traffic.harness),
    }


def conclude(rows: list[Row], seed: int) -> int:
    """Print what grew, and one line of all; returns the exit code."""
    grown = growing([row["measures"] for row in rows])
    print(*grown, sep="\n", end="\n" if grown else "")
    guarantees = replace(total(GuaranteeReport(**row["guarantees"]) for row in rows), seed=seed)
    counts = ", ".join(f"{name} {sum(row[name] for row in rows)}" for name in ("batches", "restarts"))
    print(f"long run: legs {len(rows)}, {counts}, growing {len(grown)}, {guarantees.counts}")
    return 0 if guarantees.clean and not grown else 1


if __name__ == "__main__":
    sys.exit(main())
