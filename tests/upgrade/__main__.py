"""The long form: `python -m tests.upgrade --old COMMIT --new COMMIT`. Its last line says what it did.

`orders`: every order of replacement, there and back. `mixes`: every process of either build. `ledgers`: upgraded,
rolled back to and upgraded again, in SQLite and in PostgreSQL. `shares`: reports of both builds. With `--out FILE` each
part of these is a line of JSON there, and what is there already is not run again: a run that was broken off goes on.
"""

import argparse
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from tests.conftest import pytest_configure
from tests.support.rows import Rows
from tests.upgrade import builds
from tests.upgrade.builds import Build, NoBuildError
from tests.upgrade.long_form import PARTS, LongForm, Outcome, Part
from tests.upgrade.walk import Place

from muniflow.runtime.settings import BrokerSettings
from muniflow_cli.stack.broker import PrivateBroker

BROKER_S = 300.0
"""A busy machine may take minutes to start one; it is started once."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.upgrade", description=__doc__)
    parser.add_argument(
        "--old", default=builds.previous(), help="folder or commit; else the one in tests/upgrade/previous"
    )
    parser.add_argument("--new", help="folder or commit; else this tree")
    parser.add_argument("--images", type=int, default=100, help="of each batch that keeps the stack busy")
    parser.add_argument("--seed", type=int, default=1, help="repeats the pictures, and how batches are handed in")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--out", type=Path, help="a file of JSON lines, which is added to")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing is left running
    pytest_configure()  # into memory, where that is possible
    with tempfile.TemporaryDirectory(prefix="muniflow-upgrade-") as name:
        folder = Path(name)
        try:
            older = builds.get(given.old, folder / "older")
            newer = builds.get(given.new, folder / "newer") if given.new else builds.this_tree()
        except NoBuildError as error:
            print(f"upgrade: {error}")
            return 2
        record = Record(given.out, f"{older.name} {newer.name} {given.images} {given.seed}")
        run(older, newer, given, folder, record)
    result = record.total(given.seed)
    print(*result.problems, result, sep="\n")
    return 0 if result.clean else 1


def run(older: Build, newer: Build, given: argparse.Namespace, folder: Path, record: "Record") -> None:
    """All parts, on one broker."""
    with PrivateBroker(folder / "rabbitmq", start_timeout_s=BROKER_S) as node:
        broker = BrokerSettings(amqp_url=node.amqp_url)
        long_form = LongForm(Place(folder, broker, node, given.images, given.seed), older, newer)
        for kind in given.parts:
            long_form.run(kind, record.run, record.wants)


@dataclass
class Record:
    """What was run before and is not run again, and what is run now."""

    out: Path | None
    key: str
    """Of two builds, images and seed."""

    def __post_init__(self) -> None:
        self._rows = Rows(self.out, "part", {"key": self.key})
        self.done = {name: Outcome.of_row(self._rows.values(row)) for name, row in self._rows.known.items()}

    def wants(self, name: str) -> bool:
        """Whether this part was not run yet."""
        return name not in self.done

    def run(self, name: str, part: Part) -> None:
        """Run a part, unless it was run before."""
        if not self.wants(name):
            return
        started_s = time.monotonic()
        self.done[name] = found = part()
        print(f"{name}: {time.monotonic() - started_s:.0f} s, {found}", flush=True)
        self._rows.add({"part": name, **found.as_row()})

    def total(self, seed: int) -> Outcome:
        """All of it."""
        result = sum(self.done.values(), Outcome())
        return replace(result, guarantees=replace(result.guarantees, seed=seed))


if __name__ == "__main__":
    sys.exit(main())
