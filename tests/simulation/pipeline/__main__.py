"""`python -m tests.simulation.pipeline --seeds 100 --seed 1`: runs seeds, and says in one line what they did.

With `--out FILE` each seed is a line of JSON there, and a seed that is there already is not run again: so a run that
was broken off goes on, and several may share a range of seeds. A seed that fails prints the trace of the smallest plan
that still fails.
"""

import argparse
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.simulation.pipeline.checks import Account
from tests.simulation.pipeline.minimise import minimise, trace_text
from tests.simulation.pipeline.plan import plan_of
from tests.simulation.pipeline.run import Result, run
from tests.support.rows import Row, Rows

EVERY = 100
"""Seeds from one line of progress to the next."""


@dataclass
class Sum:
    """Many seeds together."""

    seeds: int = 0
    batches: int = 0
    images: int = 0
    faults: int = 0
    virtual_s: float = 0.0
    cpu_s: float = 0.0
    account: Account = field(default_factory=Account)

    def add(self, row: Row) -> None:
        """Add the row of one seed."""
        values = dict(row)
        account = values.pop("account")
        self.seeds += 1
        for name in ("batches", "images", "faults", "virtual_s", "cpu_s"):
            setattr(self, name, getattr(self, name) + values[name])
        self.account += Account(**account)

    def __str__(self) -> str:
        ratio = self.virtual_s / max(self.cpu_s, 1e-9)
        return (
            f"seeds {self.seeds}, batches {self.batches}, images {self.images}, faults {self.faults}, "
            f"{self.virtual_s / 3600:.1f} virtual hours at {ratio:.0f} times real time: {self.account}"
        )


def row_of(result: Result) -> Row:
    """What is kept of a seed."""
    plan = result.plan
    return {
        "seed": plan.seed,
        "batches": len(plan.batches),
        "images": sum(len(batch.images) for batch in plan.batches),
        "faults": len(plan.faults),
        "virtual_s": round(result.virtual_s, 3),
        "cpu_s": round(result.cpu_s, 3),
        "digest": result.digest,
        "account": asdict(result.account),
        "violations": list(result.violations),
    }


def explain(result: Result) -> None:
    """Print the shortest trace of a plan that fails."""
    print(f"seed {result.plan.seed} fails: {result.account}; making it smaller …", flush=True)
    small = minimise(result.plan, lambda plan: not run(plan).passed)
    print(trace_text(run(small, wordy=True).lines))
    print(small)


def main() -> None:
    """Run seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1, help="the first one")
    parser.add_argument("--out", type=Path, help="a file of JSON lines, which is added to")
    options = parser.parse_args()
    rows = Rows(options.out, "seed")
    total = Sum()
    for seed in range(options.seed, options.seed + options.seeds):
        if seed not in rows.known:
            result = run(plan_of(seed))
            rows.add(row_of(result))
            if not result.passed:
                explain(result)
        total.add(rows.known[seed])
        if total.seeds % EVERY == 0:
            print(total, flush=True)
    print(f"{total} (seed {options.seed})")
    raise SystemExit(not total.account.clean)


if __name__ == "__main__":
    main()
