"""`MUNIFLOW_STAGES`."""

import json

import pytest

from muniflow.errors import Invalid
from muniflow.forecast.stage import EFFICIENCY, read_stages

BLUR = {"name": "blur", "operations": ["blur"]}


def test_stages_are_read_with_their_defaults():
    text = json.dumps([
        {"name": "front", "operations": ["resize", "split"], "children": 2, "min": 1, "max": 4, "start_s": 30,
         "horizon_s": 60, "pool": "spot", "replicas_per_node": 3},
        {**BLUR, "device": "opencl"},
        {**BLUR, "name": "blur-cpu"},
    ])  # fmt: skip
    front, gpu, cpu = read_stages(text)
    assert front.rate(3) == 6 * EFFICIENCY
    assert (front.min_replicas, front.max_replicas, front.pool) == (1, 4, "spot")
    assert (gpu.device, gpu.children, gpu.min_replicas, cpu.device, cpu.pool) == ("opencl", 1, 0, "cpu", None)


@pytest.mark.parametrize(("document", "place", "problem"), [
    ("nothing", "stages", "not JSON"),
    ([], "stages", "one stage at least"),
    ({}, "stages", "list"),
    ([{"name": "blur"}], "stages[0].operations", "required"),
    ([BLUR, {**BLUR, "name": "two", "device": "gpu", "color": 1}], "stages[1].color", "unknown field"),
    ([{**BLUR, "operations": []}], "stages[0].operations", "at least 1"),
    ([{**BLUR, "operations": ["blur", "blur"]}], "stages[0]", "twice"),
    ([{**BLUR, "name": "Blur!"}], "stages[0].name", "pattern"),
    ([{**BLUR, "min": 3, "max": 2}], "stages[0]", "`max` is 2, less than `min`, which is 3"),
    ([{**BLUR, "max": 0}], "stages[0].max", "greater than or equal to 1"),
    ([{**BLUR, "children": 0}], "stages[0].children", "greater"),
    ([{**BLUR, "horizon_s": 0}], "stages[0].horizon_s", "greater"),
    ([BLUR, {**BLUR, "operations": ["resize"]}], "stages[1].name", "two stages are named 'blur'"),
    ([BLUR, {"name": "all", "operations": ["resize", "blur"]}], "stages[1].operations[1]", "also in stage 'blur'"),
])  # fmt: skip
def test_faults_are_named_by_place(document, place, problem):
    with pytest.raises(Invalid) as caught:
        read_stages(document if isinstance(document, str) else json.dumps(document))
    (fault,) = caught.value.faults
    assert fault.place == place
    assert problem in fault.problem
