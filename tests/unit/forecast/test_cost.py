"""What a plan costs."""

import json

import pytest
from tests.support.forecast_help import stage

from muniflow.errors import Invalid
from muniflow.forecast.cost import cost_of, read_prices

STAGES = (
    stage("resize"),
    stage("blur", pool="spot", replicas_per_node=2),
    stage("sharpen", pool="spot"),
    stage("gpu", "detect", pool="gpu"),
)
PRICES = {
    "default": {"per_replica_hour": 0.5},
    "spot": {"per_node_hour": 1.0, "replicas_per_node": 4, "start_s": 600, "cool_down_s": 1_200},
    "gpu": {"per_node_hour": 3.0},
}


@pytest.mark.parametrize(("replicas", "duration_s", "cost"), [
    ({}, 3600, 0),
    ({"resize": 3}, 3600, 1.5),
    ({"resize": 3}, 1800, 0.75),
    ({"gpu": 2}, 3600, 6),
    ({"blur": 1}, 1800, 1),
    ({"blur": 2, "sharpen": 2}, 1800, 2),  # one node and a half
    ({"blur": 2, "sharpen": 4}, 1800, 2),
    ({"blur": 2, "sharpen": 5, "resize": 1}, 1800, 3.25),
])  # fmt: skip
def test_costs(replicas, duration_s, cost):
    prices = read_prices(json.dumps(PRICES), STAGES)
    assert cost_of(replicas, duration_s, STAGES, prices) == pytest.approx(cost)


@pytest.mark.parametrize(("document", "place", "problem"), [
    ("no", "prices", "not JSON"),
    ([], "prices", "dictionary"),
    ({**PRICES, "spot": {}}, "prices.spot", "give `per_replica_hour` or `per_node_hour`"),
    ({**PRICES, "spot": {"per_node_hour": 1, "per_replica_hour": 1}}, "prices.spot", "give"),
    ({**PRICES, "spot": {"per_node_hour": -1}}, "prices.spot.per_node_hour", "greater"),
    ({**PRICES, "spot": {"per_node_hour": 1, "euro": 1}}, "prices.spot.euro", "unknown field"),
    ({"default": PRICES["default"], "gpu": PRICES["gpu"]}, "prices.spot", "no price; stage 'blur' runs there"),
])  # fmt: skip
def test_faults_are_named_by_place(document, place, problem):
    with pytest.raises(Invalid) as caught:
        read_prices(document if isinstance(document, str) else json.dumps(document), STAGES)
    (fault,) = caught.value.faults
    assert fault.place == place
    assert problem in fault.problem
