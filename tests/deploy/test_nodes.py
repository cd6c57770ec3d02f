"""Stages on nodes: packed unless spread is asked for, and drained without waiting for pods that are Pending."""

from math import ceil

import pytest
from tests.deploy.chart import CASES, Document, load, name_of, of_kind, pods, rendered, template

HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"


def spread(case: str) -> dict[str, list[str]]:
    """Topology keys that each workload spreads over."""
    return {
        name.removeprefix("Deployment/muniflow-"): [
            constraint["topologyKey"] for constraint in pod["spec"].get("topologySpreadConstraints", ())
        ]
        for name, pod in pods(rendered(case)).items()
        if name.startswith("Deployment/")
    }


def test_stages_are_packed_and_the_gateway_is_spread():
    # Karpenter takes a soft spread for a hard one at first, and buys a node for each pod.
    assert spread("default") == {"gateway": [HOST, ZONE], "step-blur": [], "step-resize": [], "step-split": []}


def test_a_stage_spreads_where_it_says_so():
    found = spread("spread")
    assert (found["step-resize"], found["step-blur"], found["step-split"]) == ([HOST], [ZONE, HOST], [])
    (constraint,) = pods(rendered("spread"))["Deployment/muniflow-step-resize"]["spec"]["topologySpreadConstraints"]
    assert constraint["whenUnsatisfiable"] == "ScheduleAnyway"
    assert constraint["labelSelector"]["matchLabels"]["app.kubernetes.io/component"] == "step-resize"


@pytest.mark.parametrize("value", ["node", "rack"])
def test_a_stage_cannot_spread_over_what_the_chart_does_not_know(value):
    done = template("--set", f"steps.blur.spread={{{value}}}")
    assert done.returncode != 0
    assert "/steps/blur" in done.stderr


def evictions(spec: Document, pods_wanted: int, ready: int) -> int:
    """Ready pods that may be evicted now, as the disruption controller counts them (percentages round up)."""
    most = spec["maxUnavailable"]
    missing = ceil(pods_wanted * int(most.removesuffix("%")) / 100) if isinstance(most, str) else most
    return max(0, ready - max(0, pods_wanted - missing))


def budget(case: str, part: str) -> Document:
    named = f"PodDisruptionBudget/muniflow-{part}"
    found: Document = next(item for item in rendered(case) if name_of(item) == named)["spec"]
    return found


@pytest.mark.parametrize(
    ("part", "wanted", "ready", "least"),
    [
        ("step-blur", 30, 15, 1),  # the half is Pending: their node may still be drained
        ("step-blur", 30, 30, 15),
        ("step-blur", 1, 1, 1),
        ("step-blur", 2, 1, 1),
        ("gateway", 3, 2, 1),  # a scaler just asked for the third
        ("gateway", 2, 2, 1),
        ("coordinator", 1, 1, 1),
        ("broker", 1, 1, 1),
    ],
)
def test_pods_that_are_pending_do_not_block_a_drain(part, wanted, ready, least):
    assert evictions(budget("default", part), wanted, ready) >= least


@pytest.mark.parametrize(("part", "wanted"), [("step-blur", 4), ("step-blur", 30), ("gateway", 2), ("gateway", 6)])
def test_no_drain_empties_a_stage_at_once(part, wanted):
    assert evictions(budget("default", part), wanted, wanted) < wanted


@pytest.mark.parametrize("case", CASES)
def test_a_pod_that_is_not_ready_never_holds_up_a_drain(case):
    for item in of_kind(rendered(case), "PodDisruptionBudget"):
        assert item["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow", name_of(item)


def test_budgets_are_values():
    assert budget("spread", "step-blur")["maxUnavailable"] == 2
    assert budget("spread", "gateway")["maxUnavailable"] == 1
    for bad in ("0%", "101%", "many", "0"):
        done = template("--set", f"podDisruptionBudget.stepsMaxUnavailable={bad}")
        assert done.returncode != 0
        assert "/podDisruptionBudget/stepsMaxUnavailable" in done.stderr


def test_values_of_the_release_before_still_render():
    """`helm upgrade --reuse-values` knows none of the values that came since."""
    new = ("podDisruptionBudget.stepsMaxUnavailable", "podDisruptionBudget.gatewayMaxUnavailable",
           "networkPolicy.preset", "stepDefaults.spread")  # fmt: skip
    done = template(*(part for name in new for part in ("--set", f"{name}=null")))
    assert done.returncode == 0, done.stderr
    budgets = of_kind(load(done.stdout), "PodDisruptionBudget")
    assert {item["spec"]["maxUnavailable"] for item in budgets} == {1}
