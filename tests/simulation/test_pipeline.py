"""The pipeline in a simulation: the short form of `make simulation`."""

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from tests.simulation.pipeline.minimise import minimise
from tests.simulation.pipeline.mutations import MUTATIONS, Mutation, mutated
from tests.simulation.pipeline.plan import plan_of
from tests.simulation.pipeline.run import run

SEEDS = 30
KEPT = (32, 83)
"""Seeds that have found something, beyond `SEEDS`."""
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("first", range(1, SEEDS + 1, 10))
def test_nothing_is_lost_doubled_wrong_or_unsettled(first: int) -> None:
    check(range(first, first + 10))


def test_what_seeds_have_found_is_not_there_any_more() -> None:
    check(KEPT)


def check(seeds: Iterable[int]) -> None:
    results = [run(plan_of(seed)) for seed in seeds]
    failed = {result.plan.seed: (str(result.account), result.violations[:3]) for result in results if not result.passed}
    assert failed == {}


@pytest.mark.parametrize("mutation", [one for one in MUTATIONS if one.seed], ids=lambda one: one.name)
def test_a_bug_that_is_put_back_is_found_by_its_seed(mutation: Mutation) -> None:
    with mutated(mutation):
        assert not run(plan_of(mutation.seed), hasty=True).passed


def test_a_plan_that_fails_is_made_smaller() -> None:
    plan = plan_of(5)
    assert len(plan.batches) > 1
    small = minimise(plan, lambda one: any(len(batch.images) > 2 for batch in one.batches))
    assert len(small.batches) == 1
    assert (len(small.batches[0].images), small.faults, small.coordinators) == (3, (), 1)


@pytest.mark.parametrize("seed", [3, 7])
def test_a_seed_gives_the_same_trace_in_another_process(seed: int) -> None:
    code = (
        "from tests.simulation.pipeline.plan import plan_of\n"
        "from tests.simulation.pipeline.run import run\n"
        f"print(run(plan_of({seed})).digest)"
    )
    env = {**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": str(ROOT)}
    other = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60
    )
    assert other.stdout.strip() == run(plan_of(seed)).digest
