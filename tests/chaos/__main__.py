"""The long storm: `python -m tests.chaos --kills 300 --images 2000 --seed 7`. Prints the one line that says it all."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.harness import Harness
from tests.chaos.pictures import write_pictures
from tests.chaos.storm import VARIABLES, Storm, rage
from tests.chaos.truth import seed_of

from muniflow.runtime.settings import BrokerSettings
from muniflow_cli.stack.broker import PrivateBroker


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=30, help="SIGKILLs of workers, coordinator and broker")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--seed", type=int, default=seed_of(), help="repeats what is killed, in which order")
    given = parser.parse_args()
    storm = Storm(given.kills, given.images, given.seed)
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="muniflow-chaos-") as name:
        folder = Path(name)
        with PrivateBroker(folder / "rabbitmq") as node:
            settings = BrokerSettings(amqp_url=node.amqp_url)
            with Harness(folder, settings, node, variables=VARIABLES) as harness:
                images = write_pictures(harness.root("source"), given.images, given.seed)
                harness.until_ready()
                guarantees = rage(harness, storm, images)
                left = [pid for service in harness.services.values() for pid in service.left()]
    print(f"{guarantees}, {time.monotonic() - started_s:.0f} s")
    if left:
        print(f"processes left over: {left}")
    return 0 if guarantees.clean and not left else 1


if __name__ == "__main__":
    sys.exit(main())
