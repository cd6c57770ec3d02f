"""The rules of the simulated HPA and of KEDA are theirs."""

import pytest
from tests.simulation.scaling.autoscaler import SYNC_S, Autoscaler, Behavior, Policy, Rules

UP = Behavior(0.0, (Policy("Percent", 100, 15.0), Policy("Pods", 4, 15.0)))
DOWN = Behavior(300.0, (Policy("Percent", 20, 60.0), Policy("Pods", 1, 60.0)))


def scaler(least=0, most=50):
    return Autoscaler(Rules(UP, DOWN, least, most, cooldown_s=300.0))


def follow(one, metrics, replicas):
    found = []
    for n, metric in enumerate(metrics):
        replicas = one.replicas(n * SYNC_S, metric, replicas)
        found.append(replicas)
    return found


@pytest.mark.parametrize(
    ("replicas", "metric", "expected"),
    [
        (10, 10.9, 10), (10, 11.1, 12), (10, 9.1, 10), (1, 30.0, 5), (10, 30.0, 20), (10, 900.0, 20), (40, 900.0, 50),
        (0, 0.0, 0), (0, 0.1, 1), (0, 30.0, 1), (7, None, 7), (0, None, 0),
    ],
)  # fmt: skip
def test_one_look(replicas, metric, expected):
    assert follow(scaler(), [metric], replicas) == [expected]


def test_up_as_fast_as_the_policies_allow():
    assert follow(scaler(), [50.0] * 6, 0) == [1, 5, 10, 20, 40, 50]


def test_down_only_below_the_highest_wish_of_five_minutes_and_a_fifth_a_minute():
    found = follow(scaler(least=1), [20.0, *[5.0] * 32], 20)
    assert found[:20] == [20] * 20
    assert found[20:33:4] == [16, 12, 9, 7]


def test_the_last_replica_goes_after_the_cooldown():
    found = follow(scaler(), [1.0, *[0.0] * 22], 1)
    assert found.index(0) == 300 / SYNC_S
