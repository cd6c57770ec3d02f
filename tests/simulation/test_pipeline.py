"""The pipeline in a simulation: the short form of `make simulation`."""

import gc
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from tests.simulation.pipeline.minimise import minimise
from tests.simulation.pipeline.mutations import MUTATIONS, Mutation, mutated, nothing
from tests.simulation.pipeline.plan import BatchPlan, FaultPlan, Plan, plan_of
from tests.simulation.pipeline.run import run
from tests.simulation.pipeline.simulation import Simulation

from muniflow_coordinator.cleanup.orphans import Sweeper

SEEDS = 30
KEPT = (32, 83, 2327)
"""Seeds that have found something, beyond `SEEDS`."""
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("first", range(1, SEEDS + 1, 10))
def test_nothing_is_lost_doubled_wrong_or_unsettled(first: int) -> None:
    check(range(first, first + 10))


def test_what_seeds_have_found_is_not_there_any_more() -> None:
    check(KEPT)


def of_slow_stores(seed: int, cut_at_s: float) -> Plan:
    """A child computes on after its worker lost the connection, and may write after the end of the batch."""
    return Plan(
        seed=seed,
        batches=(BatchPlan("b0", 1.0, ("good", "good"), (("copy", 1), ("crop", 1))),),
        coordinators=1,
        workers=(("copy",), ("crop",)),
        faults=(FaultPlan(0.5, "stores slow", seconds=60.0), FaultPlan(cut_at_s, "cut", "worker0", 0.2)),
        task_s=3.0,
        window_images=1000,
        window_total=1000,
        window_gib=32.0,
        express_images=0,
        chunk=2000,
    )


def test_a_run_does_not_end_before_what_children_compute() -> None:
    assert run(of_slow_stores(4, 100.0)).violations == ()


def test_what_a_child_writes_after_the_end_stays_if_nobody_sweeps() -> None:
    plan = of_slow_stores(38, 30.0)
    assert run(plan).violations == ()
    with mutated(Mutation("no sweep", "", ((Sweeper, "_clean", nothing),), plan.seed)):
        assert "intermediates are left" in " ".join(run(plan).violations)


def check(seeds: Iterable[int]) -> None:
    results = [run(plan_of(seed)) for seed in seeds]
    failed = {result.plan.seed: (str(result.account), result.violations[:3]) for result in results if not result.passed}
    assert failed == {}


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.name)
def test_what_a_bug_changes_is_there(mutation: Mutation) -> None:
    """Also where no seed is known that finds the bug."""
    with mutated(mutation):
        pass


@pytest.mark.parametrize("mutation", [one for one in MUTATIONS if one.seed], ids=lambda one: one.name)
def test_a_bug_that_is_put_back_is_found_by_its_seed(mutation: Mutation) -> None:
    with mutated(mutation):
        assert not run(plan_of(mutation.seed), hasty=True).passed


def test_a_run_leaves_nothing_in_memory() -> None:
    """Ten thousand seeds run in one process; each run that stays takes 2 MB. The last one may stay until the next."""
    for _ in range(3):
        run(plan_of(1))
    gc.collect()
    assert sum(isinstance(one, Simulation) for one in gc.get_objects()) <= 1


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
