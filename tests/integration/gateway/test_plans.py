"""`POST /v1/plans` against a whole stack."""

import pytest
from tests.integration.gateway.help import PICTURES
from tests.support import web
from tests.support.waiting import eventually

ROUTE = [["resize", "50%"], ["blur", "gaussian"]]
SIZES = [{"width": 4000, "height": 3000, "count": 900}, {"width": 600, "height": 400, "count": 100, "format": "png"}]


@pytest.fixture
def plan(stack):
    """Asks for a plan, once the first forecast is there."""

    def asked(**document):
        def answer():
            found = web.post(f"{stack.url}/v1/plans", timeout=60, json=document)
            return None if found.status_code == 503 else found

        return eventually(answer, 30, "a forecast")

    return asked


def test_sizes_that_are_given_are_planned_for_the_stages_that_run(plan, stack):
    before = web.get(f"{stack.url}/v1/batches").json()
    found = plan(operations=ROUTE, sizes=SIZES).json()

    assert (found["images"], found["sampled"], found["unreadable"]) == (1_000, 1_000, 0)
    assert {stage["stage"] for stage in found["stages"]} == {"resize", "blur"}
    assert sum(stage["bottleneck"] for stage in found["stages"]) == 1
    assert 0 < found["finish"]["p50_s"] < found["finish"]["p90_s"]
    assert found["cost"] is None
    assert len(web.get(f"{stack.url}/v1/batches").json()["batches"]) == len(before["batches"])


def test_images_in_the_store_are_looked_at(plan):
    names = [path.name for path in PICTURES]
    folder = PICTURES[0].parent.name
    found = plan(operations=ROUTE, source=f"examples/{folder}/", images=names[:3], replicas={"resize": 4}).json()

    assert (found["images"], found["sampled"]) == (3, 3)
    assert next(stage["replicas"] for stage in found["stages"] if stage["stage"] == "resize") == 4


def test_prices_give_a_cost_and_a_deadline_an_answer(plan):
    prices = {"default": {"per_replica_hour": 3.6}}
    found = plan(operations=ROUTE, sizes=SIZES, prices=prices, deadline="2100-01-01T00:00:00Z").json()

    assert found["cost"] > 0
    assert found["feasible"] is True
    assert all(option["cost"] for option in found["frontier"])


@pytest.mark.parametrize(
    ("change", "places"),
    [
        ({"sizes": [{"width": 0, "height": 5}]}, ["sizes[0].width"]),
        ({"sizes": []}, ["sizes"]),
        ({"operations": [["rotate", 1]], "budget": -1}, ["budget", "operations[0]"]),
        ({"replicas": {"nobody": 2}}, ["replicas.nobody"]),
        ({"deadline": "2020-01-01T00:00:00Z"}, ["deadline"]),
        ({"budget": 3}, ["budget"]),
        ({"prices": {"spot": {"per_replica_hour": 1}}}, ["prices.default"]),
        ({"sizes": None, "images": ["nobody.jpg"]}, ["images[0]"]),
        ({"colour": "red"}, ["colour"]),
    ],
)
def test_what_is_wrong_is_named_by_its_place(plan, change, places):
    answer = plan(**{"operations": ROUTE, "sizes": SIZES, **change})

    assert answer.status_code == 422
    assert [fault["place"] for fault in answer.json()["faults"]] == places
