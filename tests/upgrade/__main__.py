"""The long form: `python -m tests.upgrade --old COMMIT --new COMMIT`. Its last line says what it did."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.conftest import pytest_configure
from tests.upgrade import builds
from tests.upgrade.builds import Build, NoBuildError
from tests.upgrade.walk import ORDERS, Result, walk_through, walking

from muniflow.runtime.settings import BrokerSettings
from muniflow_cli.stack.broker import PrivateBroker


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.upgrade", description=__doc__)
    parser.add_argument(
        "--old", default=builds.previous(), help="folder or commit; else the one in tests/upgrade/previous"
    )
    parser.add_argument("--new", help="folder or commit; else this tree")
    parser.add_argument("--images", type=int, default=100, help="of each batch")
    parser.add_argument("--seed", type=int, default=1, help="repeats the pictures, and how batches are handed in")
    given = parser.parse_args()
    pytest_configure()  # into memory, where that is possible
    with tempfile.TemporaryDirectory(prefix="muniflow-upgrade-") as name:
        folder = Path(name)
        try:
            older = builds.get(given.old, folder / "older")
            newer = builds.get(given.new, folder / "newer") if given.new else builds.this_tree()
        except NoBuildError as error:
            print(f"upgrade: {error}")
            return 2
        result = run(older, newer, folder, given.images, given.seed)
    print(result)
    return 0 if result.guarantees.clean else 1


def run(older: Build, newer: Build, folder: Path, images: int, seed: int) -> Result:
    """All orders, on a broker of its own."""
    with PrivateBroker(folder / "rabbitmq") as node:
        harness = folder / "harness"
        harness.mkdir()
        with walking(harness, BrokerSettings(amqp_url=node.amqp_url), node, images, seed) as walk:
            walk.know_from(newer)
            result = walk_through(walk, older, newer, ORDERS)
            if not result.guarantees.clean:
                print(walk.harness.tails())
            return result


if __name__ == "__main__":
    sys.exit(main())
