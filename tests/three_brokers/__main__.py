"""A cluster of three brokers at length: `python -m tests.three_brokers --faults 48 --seed 1`.

The last line says it all. Faults come in rounds of twelve, each on a cluster of its own.
"""

import argparse
import signal
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from tests.three_brokers.cluster import TICK_S
from tests.three_brokers.network import why_not
from tests.three_brokers.storm import FAULTS_PER_ROUND, IMAGES, pauses, round_of, run_round, together

MEMORY = Path("/dev/shm")  # noqa: S108 - every round makes a folder of its own below it


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.three_brokers", description=__doc__)
    parser.add_argument("--faults", type=int, default=FAULTS_PER_ROUND)
    parser.add_argument("--seed", type=int, default=1, help="repeats what happens, in which order, to which node")
    parser.add_argument("--images", type=int, default=IMAGES, help="in each batch")
    parser.add_argument("--tick-s", type=int, default=TICK_S, help="net_ticktime of the nodes; RabbitMQ's own is 60")
    parser.add_argument("--upgrade", type=Path, help="start script of the RabbitMQ that a rolling restart changes to")
    given = parser.parse_args()
    if (reason := why_not()) is not None:
        print(reason)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing is left running
    stacks = []
    for number in range(-(-given.faults // FAULTS_PER_ROUND)):
        faults = min(FAULTS_PER_ROUND, given.faults - number * FAULTS_PER_ROUND)
        each = round_of(given.seed, number + 1, faults, given.images)
        print(f"{each.seed}: {', '.join(each.kinds)}", flush=True)
        began_s = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="muniflow-cluster-", dir=MEMORY if MEMORY.is_dir() else None) as folder:
            stacks.append(run_round(each, Path(folder), given.tick_s, given.upgrade))
        print(f"{each.seed}: {stacks[-1].guarantees}, {time.monotonic() - began_s:.0f} s", flush=True)
    print(pauses(stacks))
    guarantees = replace(together(stacks), seed=given.seed)
    print(f"three brokers: {guarantees}")
    return 0 if guarantees.clean else 1


if __name__ == "__main__":
    sys.exit(main())
