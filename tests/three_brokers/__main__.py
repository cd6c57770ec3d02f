"""A cluster of three brokers at length: `python -m tests.three_brokers --faults 48 --seed 1`.

The last line says it all. Faults come in rounds of twelve, each on a cluster of its own. With `--out FILE` each round
is a line of JSON there, and a round that is there already is not run again: so a run that was broken off goes on.
"""

import argparse
import signal
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

from tests.chaos.truth import GuaranteeReport
from tests.support.rows import Row, Rows
from tests.three_brokers.cluster import TICK_S
from tests.three_brokers.network import why_not
from tests.three_brokers.storm import FAULTS_PER_ROUND, IMAGES, KINDS, Round, pauses, rounds_of, run_round

from muniflow_cli.stack.broker import find_server

MEMORY = Path("/dev/shm")  # noqa: S108 - every round makes a folder of its own below it


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.three_brokers", description=__doc__)
    parser.add_argument("--faults", type=int, default=FAULTS_PER_ROUND)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, help="one round of just these, in this order")
    parser.add_argument("--seed", type=int, default=1, help="repeats what happens, in which order, to which node")
    parser.add_argument("--images", type=int, default=IMAGES, help="in each batch")
    parser.add_argument("--tick-s", type=int, default=TICK_S, help="net_ticktime of the nodes; RabbitMQ's own is 60")
    parser.add_argument("--upgrade", type=Path, help="start script of the RabbitMQ that a rolling restart changes to")
    parser.add_argument("--out", type=Path, help="a file of JSON lines, which is added to")
    given = parser.parse_args()
    if (reason := why_not()) is not None:
        print(reason)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing is left running
    rows, wanted = Rows(given.out, "round"), []
    rounds = (
        [Round(f"{given.seed}-own", given.images, tuple(given.kinds))]
        if given.kinds
        else rounds_of(given.seed, given.faults, given.images)
    )
    for each in rounds:
        what = (each.seed, *each.kinds, each.images, given.tick_s, find_server(), given.upgrade)
        name = ", ".join(map(str, what))
        if name not in rows.known:
            rows.add({"round": name, **_run(each, given.tick_s, given.upgrade)})
        wanted.append(rows.known[name])
    print(pauses([row["pauses_s"] for row in wanted]))
    together = sum((GuaranteeReport(**row["guarantees"]) for row in wanted), GuaranteeReport())
    print(f"three brokers: {replace(together, seed=given.seed)}")
    return 0 if together.clean else 1


def _run(each: Round, tick_s: int, upgrade: Path | None) -> Row:
    print(f"{each.seed}: {', '.join(each.kinds)}", flush=True)
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="muniflow-cluster-", dir=MEMORY if MEMORY.is_dir() else None) as folder:
        stack = run_round(each, Path(folder), tick_s, upgrade)
    print(f"{each.seed}: {stack.guarantees}, {time.monotonic() - began_s:.0f} s", flush=True)
    return {"guarantees": asdict(stack.guarantees), "pauses_s": stack.pauses_s}


if __name__ == "__main__":
    sys.exit(main())
