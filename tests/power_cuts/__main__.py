"""Power cuts at length: `python -m tests.power_cuts --cuts 200 --seed 1`. The last line says it all.

Cuts come in rounds of ten, each on a stack and volumes of its own. With `--out FILE` each round is a line of JSON
there, and a round that is there already is not run again: so a run that was broken off goes on.
"""

import argparse
import signal
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

from tests.chaos.truth import GuaranteeReport
from tests.power_cuts.storm import CUTS_PER_ROUND, IMAGES, Round, round_of, run_round
from tests.power_cuts.volumes import why_not
from tests.support.rows import Rows

from muniflow.runtime.failpoints import SYNCS

MEMORY = Path("/dev/shm")  # noqa: S108 - every round makes a folder of its own below it


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.power_cuts", description=__doc__)
    parser.add_argument("--cuts", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1, help="repeats what is cut, in which order, on which volumes")
    parser.add_argument("--images", type=int, default=IMAGES, help="in each batch")
    parser.add_argument("--leave-out", choices=SYNCS, help="a sync that nothing calls; the run must fail then")
    parser.add_argument("--out", type=Path, help="a file of JSON lines, which is added to")
    given = parser.parse_args()
    if (reason := why_not()) is not None:
        print(reason)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing is left mounted or running
    rows = Rows(given.out, "round")
    together = GuaranteeReport(seed=given.seed)
    for number, cuts in enumerate(_shares(given.cuts), 1):
        each = round_of(given.seed, number, cuts, given.images)
        if (name := f"{each.seed} {cuts} {given.images}") not in rows.known:
            rows.add({"round": name, **asdict(_run(each, given.leave_out))})
        together += GuaranteeReport(**rows.values(rows.known[name]))
    together = replace(together, seed=given.seed)
    print(f"power cuts {together.faults}, {together.counts}")
    return 0 if together.clean else 1


def _shares(cuts: int) -> list[int]:
    return [min(CUTS_PER_ROUND, cuts - first) for first in range(0, cuts, CUTS_PER_ROUND)]


def _run(given: Round, left_out: str | None) -> GuaranteeReport:
    started_s = time.monotonic()
    print(f"{given.seed}: {given.layout}", flush=True)
    with tempfile.TemporaryDirectory(prefix="muniflow-cuts-", dir=MEMORY if MEMORY.is_dir() else None) as folder:
        guarantees = run_round(given, Path(folder), left_out)
    print(f"{given.seed}: power cuts {guarantees.faults}, {guarantees.counts}, {time.monotonic() - started_s:.0f} s")
    sys.stdout.flush()
    return guarantees


if __name__ == "__main__":
    sys.exit(main())
