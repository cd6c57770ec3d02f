"""Plans of a batch: for replicas, a deadline or a budget."""

import itertools
import json
import random
import time
from math import inf

import pytest
from tests.support.forecast_help import LONG_ROUTE, OPERATIONS, batch, one_per_operation, photo, sample, stage

from muniflow.errors import Invalid
from muniflow.forecast.cost import read_prices
from muniflow.forecast.interval import interval
from muniflow.forecast.load import BatchLoad
from muniflow.forecast.plan import plan_document
from muniflow.forecast.planner import Planner
from muniflow.forecast.profile import Profile
from muniflow.forecast.route import Path
from muniflow.forecast.shared_cores import free_cores
from muniflow.forecast.sizes import SizeSample, choose
from muniflow.forecast.stage import HORIZON_S
from muniflow.forecast.work import BatchWork

NOW = 1_800_000_000.0
STAGES = one_per_operation(max=40, start_s=10)
PRICES = read_prices('{"default": {"per_replica_hour": 1, "start_s": 10, "cool_down_s": 60}}', STAGES)
SAMPLE = sample(photo(4000, 3000), photo(4000, 3000), None, photo(2000, 1000), count=20_000)


def planner(found=SAMPLE, stages=STAGES, **fields) -> Planner:
    work = BatchWork.of(found, Path.of(batch(*LONG_ROUTE), OPERATIONS, stages))
    grades = fields.pop("interval", interval([0.0] * 50))
    return Planner(BatchLoad("new", found.count, work.left(Profile())), stages, grades, **fields)


def test_the_document_has_what_people_and_programs_read():
    plans = planner(prices=PRICES, interval=interval([]))
    document = plan_document(plans, plans.within_horizon(), SAMPLE, NOW, NOW + 3600)
    assert json.loads(json.dumps(document)) == document
    assert (document["images"], document["sampled"], document["unreadable"]) == (20_000, 4, 1)
    assert [one["stage"] for one in document["stages"] if one["bottleneck"]] == ["resize"]
    assert document["core_s"] == pytest.approx(sum(one["work_s"] for one in document["stages"]), abs=0.01)
    finish = document["finish"]
    assert finish["p50_s"] < finish["p90_s"] <= HORIZON_S
    assert finish["p50_at"] == pytest.approx(NOW + finish["p50_s"])
    assert (finish["graded"], finish["calibrated"], document["feasible"]) == (0, False, True)
    assert 0 < document["earliest_s"] < finish["p50_s"]
    assert document["cost"] > document["core_s"] / 3600


def test_without_prices_or_a_deadline_nothing_is_said_of_them():
    plans = planner()
    document = plan_document(plans, plans.within_horizon(), SAMPLE, NOW)
    assert document["cost"] is document["feasible"] is None


@pytest.mark.parametrize("limit_s", [100, 300, 900, 3_600, 40_000])
def test_the_fewest_replicas_for_a_deadline(limit_s):
    plans = planner()
    chosen = plans.by(NOW + limit_s, NOW)
    assert chosen.p90_s <= limit_s
    fewer = [one for one in plans.options if one.replicas["resize"] < chosen.replicas["resize"]]
    assert all(one.p90_s > limit_s for one in fewer)
    assert chosen.p90_s >= 0.5 * limit_s or chosen.replicas["resize"] == 1


def test_a_deadline_that_cannot_be_met_gets_the_fastest_and_its_time():
    plans = planner()
    chosen = plans.by(NOW + 5, NOW)
    document = plan_document(plans, chosen, SAMPLE, NOW, NOW + 5)
    assert chosen == plans.fastest
    assert document["feasible"] is False
    assert document["earliest_s"] == pytest.approx(chosen.p50_s, abs=0.001)


def test_a_budget_buys_the_fastest_that_it_can():
    plans = planner(prices=PRICES)
    costs = sorted(one.cost or inf for one in plans.options)
    chosen = plans.for_budget(costs[len(costs) // 2])
    assert (chosen.cost or inf) <= costs[len(costs) // 2]
    assert all(one.p50_s >= chosen.p50_s for one in plans.options if (one.cost or inf) <= costs[len(costs) // 2])


def test_the_frontier_trades_time_for_money():
    points = planner(prices=PRICES).frontier()
    assert len(points) > 5
    for slow, quick in itertools.pairwise(points):
        assert quick.p50_s < slow.p50_s
        assert (quick.cost or 0) > (slow.cost or 0)
    assert len(planner().frontier()) > 5


def test_each_stage_has_its_proportion_and_no_more():
    for option in planner().options:
        assert option.replicas["split"] <= option.replicas["blur"] <= option.replicas["resize"]
        assert min(option.replicas.values()) == 1


def test_what_runs_does_not_start_and_others_take_their_turns():
    alone = planner(running={"resize": 40, "split": 40, "blur": 40})
    counts = {"resize": 4, "split": 1, "blur": 4}
    other = BatchLoad("other", 20_000, planner().load.stages)
    beside = planner(running={"resize": 40, "split": 40, "blur": 40}, others=(other, alone.load))
    assert planner().option(counts).finish_s == pytest.approx(alone.option(counts).finish_s + 10)
    assert beside.option(counts).finish_s == pytest.approx(2 * alone.option(counts).finish_s, rel=0.01)


def test_a_machine_of_two_cores():
    plans = planner(cores=2)
    work_s = sum(work.work_s for work in plans.load.stages.values())
    assert plans.fastest.finish_s == pytest.approx(work_s / free_cores(2), rel=0.1)


@pytest.mark.parametrize(("ask", "place", "problem"), [
    (lambda plans: plans.option({"resise": 4}), "replicas.resise", "no such stage; there are: resize, split, blur"),
    (lambda plans: plans.option({"resize": -4}), "replicas.resize", "less than 0"),
    (lambda plans: plans.by(NOW - 1, NOW), "deadline", "is in the past"),
    (lambda plans: plans.for_budget(0.01), "budget", "the cheapest option costs"),
    (lambda _: planner().for_budget(10), "budget", "needs prices"),
])  # fmt: skip
def test_bad_input_is_named_by_place(ask, place, problem):
    with pytest.raises(Invalid) as caught:
        ask(planner(prices=PRICES))
    assert caught.value.faults[0].place == place
    assert problem in caught.value.faults[0].problem


def test_a_stage_without_replicas_is_never_an_end():
    plans = planner(prices=PRICES)
    document = plan_document(plans, plans.option({"resize": 1}), SAMPLE, NOW)
    assert document["finish"]["p90_s"] is document["finish"]["p90_at"] is document["cost"] is None


def test_a_batch_without_work_ends_at_once():
    plans = planner(sample(None), prices=PRICES)
    assert plans.within_horizon().p90_s == 0
    assert plan_document(plans, plans.fastest, sample(None), NOW)["stages"] == []


def test_a_million_images_are_planned_in_seconds():
    dice = random.Random(1)
    started = time.process_time()
    choice = choose((f"{number}.jpg" for number in range(1_000_000)), dice)
    pictures = [photo(dice.randrange(500, 8_000), dice.randrange(500, 4_000)) for _ in choice.places]
    found = SizeSample.of(choice.count, choice.places, pictures)
    plans = planner(found, tuple(stage(name, max=500) for name in ("resize", "split", "blur")), prices=PRICES)
    plan_document(plans, plans.within_horizon(), found, NOW)
    assert time.process_time() - started < 5
