"""Cuts a plan that fails down to what it needs to fail, for a trace that a person can read."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from tests.simulation.pipeline.plan import BatchPlan, Plan

MAX_RUNS = 150


def minimise(plan: Plan, fails: Callable[[Plan], bool], max_runs: int = MAX_RUNS) -> Plan:
    """Return the smallest plan found that still fails, after so many tries at most."""
    runs = 0
    smaller = True
    while smaller:
        smaller = False
        for candidate in _candidates(plan):
            if runs >= max_runs:
                return plan
            runs += 1
            if fails(candidate):
                plan, smaller = candidate, True
                break
    return plan


def _candidates(plan: Plan) -> Iterator[Plan]:
    """Plans that are a little smaller, those that lack most first."""
    for size in (len(plan.faults) // 2, len(plan.faults) // 4, 1):
        for start in range(0, len(plan.faults), size or 1) if size else ():
            yield replace(plan, faults=plan.faults[:start] + plan.faults[start + size :])
    if len(plan.batches) > 1:
        for place in range(len(plan.batches)):
            yield replace(plan, batches=plan.batches[:place] + plan.batches[place + 1 :])
    if plan.coordinators > 1 and not any(
        fault.target == f"coordinator{plan.coordinators - 1}" for fault in plan.faults
    ):
        yield replace(plan, coordinators=plan.coordinators - 1)
    for place, batch in enumerate(plan.batches):
        for less in _smaller(batch):
            yield replace(plan, batches=(*plan.batches[:place], less, *plan.batches[place + 1 :]))


def _smaller(batch: BatchPlan) -> Iterator[BatchPlan]:
    count = len(batch.images)
    if count > 1:
        yield replace(batch, images=batch.images[: count // 2])
        yield replace(batch, images=batch.images[count // 2 :])
        yield replace(batch, images=batch.images[:-1])
    if len(batch.route) > 1:
        yield replace(batch, route=batch.route[:-1])
    if batch.twice:
        yield replace(batch, twice=False)
    if batch.cancel_after_s is not None:
        yield replace(batch, cancel_after_s=None)


def trace_text(lines: tuple[str, ...], most: int = 200) -> str:
    """The trace, without its middle where it is long."""
    if len(lines) <= most:
        return "\n".join(lines)
    half = most // 2
    return "\n".join((*lines[:half], f"… {len(lines) - most} lines …", *lines[-half:]))
