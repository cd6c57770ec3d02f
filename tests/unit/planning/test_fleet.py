"""What a coordinator tells of its fleet comes back as it was."""

import json

import pytest

from muniflow.errors import Invalid
from muniflow.forecast.load import BatchLoad
from muniflow.forecast.stage import Stage
from muniflow.forecast.work import Part, StageWork
from muniflow.planning.fleet import Fleet, fleet_document, read_fleet

FLEET = Fleet(
    (Stage(name="shrink", operations=("resize",), children=2, max_replicas=9, pool="spot"),),
    "the running stack",
    {"shrink": 3},
    4.0,
    (
        BatchLoad(
            "b",
            12.0,
            {"shrink": StageWork(3.0, 0.25, 2.0, 0.5)},
            "utrecht",
            "low",
            2.0,
            express=True,
            due_at=1_800_000_900.0,
            mean_pixels=800_000.0,
            in_flight=3.0,
            parts=(Part(8.0, 0.1), Part(4.0, 0.55)),
        ),
    ),
    (0.1, -0.2),
    64,
)


def test_it_is_read_as_it_is_written() -> None:
    assert read_fleet(json.dumps(fleet_document(FLEET)), FLEET.origin) == FLEET


def test_what_a_later_build_adds_is_passed_over() -> None:
    document = fleet_document(FLEET)
    found = read_fleet(json.dumps({**document, "new": 1, "others": [{**document["others"][0], "new": 2}]}), "there")
    assert found.others == FLEET.others


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"stages": []}, "fleet.stages"),
        ({"running": {"shrink": "many"}}, "fleet.running.shrink"),
        ({"cores": 0}, "fleet.cores"),
        ({"others": [{"batch": "b", "images": -1, "stages": {}}]}, "fleet.others[0].images"),
        ({"others": [{"batch": "b", "images": 1, "stages": {}, "parts": [[1, -1]]}]}, "fleet.others[0].parts[0][1]"),
    ],
)
def test_what_cannot_be_used_is_named_by_its_place(change: dict[str, object], place: str) -> None:
    with pytest.raises(Invalid) as refused:
        read_fleet(json.dumps({**fleet_document(FLEET), **change}), "there")
    assert [fault.place for fault in refused.value.faults] == [place]
