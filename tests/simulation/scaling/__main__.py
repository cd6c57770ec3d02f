"""`python -m tests.simulation.scaling --weeks 100 --seed 1`: prints each week, and a line of them all.

With `--out FILE` each week is a line of JSON there, and a week that is there already is not run again: so a run that
was broken off goes on, and several may share a range of seeds.
"""

import argparse
from dataclasses import asdict
from pathlib import Path

from tests.simulation.scaling.grade import WeekGrade, grade_week
from tests.support.rows import Rows

SIZES = (40, 100, 20, 500)
"""Most replicas of each stage, by turns: a week's is that at its seed, modulo their number."""
MAX_WRONG = 1e-4
"""Of all batches, those that are named as impossible and are not: a constant part that was learned of large images only
may be off (docs/research/scaling.md). Of those that are impossible none may be missed."""


def main() -> None:
    """Grade weeks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weeks", type=int, default=100)
    parser.add_argument("--days", type=int, default=7, help="of each week")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="a file of JSON lines, which is added to")
    options = parser.parse_args()
    rows = Rows(options.out, "seed", {"days": options.days})
    grades = []
    for seed in range(options.seed, options.seed + options.weeks):
        if seed not in rows.known:
            rows.add({"seed": seed, **asdict(grade_week(seed, options.days, SIZES[(seed - 1) % len(SIZES)]))})
        grades.append(WeekGrade(**rows.values(rows.known[seed])))
        print(seed, grades[-1], flush=True)
    print(summary(grades), f"(seeds {options.seed} to {options.seed + options.weeks - 1})")
    raise SystemExit(not passed(grades))


def passed(grades: list[WeekGrade]) -> bool:
    """Whether all of them together hold the bounds."""
    met, covered, ratio = _figures(grades)
    missed = sum(one.missed for one in grades)
    wrong = sum(one.wrong for one in grades) / max(sum(one.batches for one in grades), 1)
    return met >= 0.95 and 0.85 <= covered <= 0.95 and ratio <= 1.15 and not missed and wrong <= MAX_WRONG


def summary(grades: list[WeekGrade]) -> str:
    """One line of them all."""
    met, covered, ratio = _figures(grades)
    named, missed, wrong = (sum(getattr(one, name) for one in grades) for name in ("impossible", "missed", "wrong"))
    return (
        f"{len(grades)} weeks, {sum(one.feasible for one in grades)} feasible batches: {met:.1%} in time at "
        f"{ratio:.2f} times the oracle's replica-seconds; {covered:.1%} of {sum(one.graded for one in grades)} "
        f"within p90; {named} impossible, {missed} not named, {wrong} named wrongly"
    )


def _figures(grades: list[WeekGrade]) -> tuple[float, float, float]:
    """The parts met and covered, and the cost ratio."""
    met = sum(one.met for one in grades) / max(sum(one.feasible for one in grades), 1)
    covered = sum(one.covered for one in grades) / max(sum(one.graded for one in grades), 1)
    return met, covered, sum(one.cost_ratio for one in grades) / len(grades)


if __name__ == "__main__":
    main()
