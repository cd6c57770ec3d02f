"""Scaling on the forecast, in virtual time: a short form of `make simulation`."""

from functools import cache

import pytest
from tests.simulation.scaling.autoscaler import SYNC_S, Autoscaler
from tests.simulation.scaling.forecaster import Forecaster
from tests.simulation.scaling.grade import (
    NEAR,
    WARM_UP,
    city,
    grade_week,
    rules,
    run_week,
    stages,
    week_of,
)
from tests.simulation.scaling.steady import directions
from tests.simulation.scaling.workload import Job


def job(name, *, at_s=0.0, images=1000, megapixels=4.0, route=("resize", "blur"), due_s=900.0):
    return Job(name, at_s, images, megapixels, route, at_s + due_s, has_deadline=False, luck=1.0)


def run(jobs, hours, of=None, kind="keda-forecast"):
    of = of or stages()
    forecaster = Forecaster(of)
    one = city(of, forecaster.turn, kind=kind)
    return one, one.run(jobs, hours * 3600.0), forecaster


def test_a_day_of_a_city():
    grade = grade_week(2, days=1, margins=(1.4,))
    assert grade.feasible > 150
    assert grade.met >= 0.95 * grade.feasible, grade
    assert grade.cost_ratio <= 1.15, grade
    assert grade.unnamed <= 0.01 * grade.batches, "late, and not named while it ran"


@cache
def four_hundred_and_more(seed):
    """A day with many batches, by the forecast alone."""
    of = stages(most=100)
    forecaster = Forecaster(of)
    _, flows = run_week(week_of(seed, of, days=1)[: WARM_UP + 450], forecaster, seed)
    return forecaster, flows


@pytest.mark.parametrize("seed", [1, 2])
def test_nine_in_ten_batches_end_within_p90(seed):
    forecaster, _ = four_hundred_and_more(seed)
    graded = forecaster.grades[WARM_UP : WARM_UP + 400]
    assert len(graded) == 400
    assert 0.85 <= sum(grade.within_p90 for grade in graded) / 400 <= 0.95


@pytest.mark.parametrize("seed", [1, 2])
def test_what_is_impossible_is_named_at_acceptance_and_only_that(seed):
    forecaster, _ = four_hundred_and_more(seed)
    named = list(forecaster.named.values())[WARM_UP:]
    impossible = [one for one in named if one.true_earliest_s > (1 + NEAR) * one.due_s]
    possible = [one for one in named if one.true_earliest_s < (1 - NEAR) * one.due_s]
    assert len(impossible) >= 5
    assert len(possible) >= 250
    assert [one for one in impossible if not one.infeasible] == []
    assert [one for one in possible if one.infeasible] == []


@pytest.mark.parametrize("kind", ["keda-forecast", "hpa-forecast"])
@pytest.mark.parametrize("most", [40, 500])
def test_a_million_images_reach_max_as_fast_as_the_policies_allow(kind, most):
    of = stages(most=most)
    million = job("million", images=1_000_000, megapixels=12.0 * most / 40, due_s=600)
    one, _, _ = run([million], hours=0.25, of=of, kind=kind)
    fastest, replicas, at_s = Autoscaler(rules(of, kind)["resize"]), 0, 0.0
    history = []
    while replicas < most:
        replicas = fastest.replicas(at_s, float(most), replicas)
        history.append((at_s, replicas))
        at_s += SYNC_S
    assert one.history["resize"][: len(history)] == history


def test_a_billion_images_cost_no_more_than_a_million():
    of = stages(children=4, most=500)
    one, (flow,), forecaster = run([job("billion", images=10**9, megapixels=0.5, route=("resize",))], hours=6, of=of)
    alone_s = 10**9 * flow.seconds[0] / of[0].rate(500)
    assert alone_s < flow.ended_s < 1.1 * alone_s + 300
    assert max(replicas for _, replicas in one.history["resize"]) == 500
    assert forecaster.named["billion"].infeasible
    assert len(forecaster.grades) == 1


def test_every_stage_of_the_route_starts_at_once():
    one, _, _ = run([job("one", images=20_000)], hours=1)
    assert one.history["resize"][0][0] == one.history["blur"][0][0]
    assert one.history["split"] == []


def test_without_images_nothing_runs_after_the_cooldown():
    one, (flow,), _ = run([job("one", images=100)], hours=1)
    assert flow.ended_s < 900
    assert set(one.replicas.values()) == {0}


@pytest.mark.parametrize(("replicas", "every_s"), [(2.5, 30.0), (20, 120.0), (100, 120.0)])
def test_at_constant_load_a_stage_changes_direction_at_most_once_in_half_an_hour(replicas, every_s):
    turns, _, late = directions(replicas, every_s, hours=3)
    assert turns <= 1
    assert late == 0
