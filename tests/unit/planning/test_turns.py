"""A plan counts its batch among those of its owner: turns are dealt by owner."""

import json

import pytest

from muniflow.forecast.load import BatchLoad
from muniflow.forecast.profile import Profile
from muniflow.forecast.stage import Stage
from muniflow.forecast.work import StageWork
from muniflow.model.batch import read_batch
from muniflow.model.operation import installed_operations
from muniflow.planning.fleet import Fleet
from muniflow.planning.plan import Wish, make_plan
from muniflow.planning.sampling import GivenSize, given_sizes

IMAGES = 1_000


def finish_s(owner: str, others: int) -> float:
    """When a batch of this owner ends beside so many equal ones of the owner `roads`, on one replica."""
    operations = installed_operations()
    document = {"batch_id": "new", "source": "in", "operations": [["resize", "50%"]]}
    batch = read_batch(json.dumps(document).encode(), operations, owner)
    stages = (Stage(name="shrink", operations=("resize",)),)
    sampling = given_sizes([GivenSize(width=2000, height=1000, count=IMAGES)])

    def plan(*running: BatchLoad) -> tuple[float, StageWork]:
        fleet = Fleet(stages, "a test", {"shrink": 1}, others=running)
        wish = Wish(replicas={"shrink": 1})
        made = make_plan(batch, operations, sampling, fleet, profile=Profile(), prices=None, wish=wish, now_at=0.0)
        return made.chosen.finish_s, made.planner.load.stages["shrink"]

    _, work = plan()
    return plan(*(BatchLoad(f"b{n}", IMAGES, {"shrink": work}, "roads", due_at=float(n)) for n in range(others)))[0]


def test_nine_batches_of_another_owner_hold_a_batch_up_as_one_does() -> None:
    alone_s = finish_s("archive", 0)
    assert finish_s("archive", 9) == pytest.approx(2 * alone_s, rel=0.1)
    assert finish_s("roads", 9) == pytest.approx(10 * alone_s, rel=0.1)
