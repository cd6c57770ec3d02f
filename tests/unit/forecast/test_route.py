"""The tasks of an image along a route: the same that workers make."""

from collections import Counter

import pytest
from tests.support.compute_help import context, picture, write_source
from tests.support.forecast_help import LONG_ROUTE, OPERATIONS, batch, chained, one_per_operation, photo, stage

from muniflow.compute.process import process
from muniflow.compute.step import installed_steps
from muniflow.errors import Rejected
from muniflow.forecast.route import Path
from muniflow.forecast.service_time import Amount
from muniflow.model.messages import Task

FIVE_STEPS = [["resize", "50%"], ["split", True], ["blur", "median"], ["split", "3x2"], ["blur", "gaussian"]]
FRONT_AND_BLUR = (stage("front", "resize,split"), stage("blur"))
ENDS_AND_SPLIT = (stage("ends", "resize,blur"), stage("split"))


def made_by_workers(work, stages, source, root):
    """Tasks, pixels in and images out by stage and step, of real workers."""
    installed = installed_steps()
    tasks: Counter[tuple[str, int]] = Counter()
    pixels: Counter[tuple[str, int]] = Counter()
    outputs: Counter[tuple[str, int]] = Counter()
    first = Task(
        batch="b", image=0, source="a.jpg", stem="a", destination="out", encoding=work.encoding, route=work.route
    )
    write_source(root, "a.jpg", source)
    waiting = [first]
    while waiting:
        task = waiting.pop()
        carrier = next(one for one in stages if task.op in one.operations)
        outcome = process(task, context(root, steps={op: installed[op] for op in carrier.operations}))
        key = (carrier.name, task.step)
        tasks[key] += 1
        pixels[key] += task.input_px or source.shape[0] * source.shape[1]
        assert outcome.work is not None
        outputs[key] += outcome.work.outputs
        waiting += outcome.follow
    return dict(tasks), dict(pixels), dict(outputs)


@pytest.mark.parametrize("stages", [one_per_operation(), chained(), FRONT_AND_BLUR, ENDS_AND_SPLIT])
@pytest.mark.parametrize("operations", [
    LONG_ROUTE, FIVE_STEPS, [["split", "4x4"], ["blur", "gaussian"], ["resize", "30x"]], [["blur", "gaussian"]],
    [["split", "9x9"], ["split", True], ["blur", "gaussian"]],
])  # fmt: skip
def test_tasks_pixels_and_outputs_are_those_of_the_workers(tmp_path, operations, stages):
    work = batch(*operations)
    visits = Path.of(work, OPERATIONS, stages).visits(photo(1101, 1002))
    tasks, pixels, outputs = made_by_workers(work, stages, picture(1101, 1002), tmp_path)
    assert {(visit.stage, visit.step): visit.amount.tasks for visit in visits} == tasks
    found = {(visit.stage, visit.step): round(visit.amount.mp_in * 1e6) for visit in visits}
    assert found == pixels
    assert {(visit.stage, visit.step): visit.amount.outputs for visit in visits} == outputs


def test_a_chain_is_one_task():
    (visit,) = Path.of(batch(*LONG_ROUTE), OPERATIONS, chained()).visits(photo(1024, 512))
    assert visit.amount.tasks == 1
    assert visit.task_class.key.startswith("resize+split+blur/jpg-jpg/cpu/")
    assert (visit.amount.mp_in, visit.amount.mp_out) == (1024 * 512 / 1e6, 512 * 256 / 1e6)


def test_classes_along_a_route_of_hops():
    visits = Path.of(batch(*LONG_ROUTE, output="webp"), OPERATIONS, one_per_operation()).visits(photo(8000, 4000))
    assert [(visit.stage, visit.amount.tasks, visit.task_class.reads, visit.task_class.writes) for visit in visits] == [
        ("resize", 1, "jpg", "raw"), ("split", 1, "raw", "raw"), ("blur", 4, "raw", "webp"),
    ]  # fmt: skip
    assert visits[2].amount.mp_in == 8
    assert visits[2].largest == Amount(tasks=1, mp_in=2, mp_out=2, outputs=1)
    assert [visit.amount.outputs for visit in visits] == [1, 4, 4]


def test_stages_that_share_an_operation_divide_its_tasks_by_capacity():
    stages = (stage("cpu", "resize,split,blur", max=10), stage("gpu", "blur", device="opencl", children=3, max=10))
    visits = Path.of(batch(["blur", "gaussian"]), OPERATIONS, stages).visits(photo())
    assert [(visit.stage, visit.amount.tasks) for visit in visits] == [("cpu", 0.25), ("gpu", 0.75)]
    assert [visit.amount.mp_in for visit in visits] == pytest.approx([1.048576 / 4, 1.048576 * 3 / 4])
    alone = Path.of(batch(["blur", "gaussian"]), OPERATIONS, stages, lambda one: float(one.name == "gpu"))
    assert [(visit.stage, visit.amount.tasks) for visit in alone.visits(photo())] == [("gpu", 1)]


def test_what_a_step_refuses_makes_nothing_after_it():
    work = batch(["resize", "50%"], ["split", "4x4"], ["blur", "gaussian"])
    visits = Path.of(work, OPERATIONS, one_per_operation()).visits(photo(4, 4))
    assert [(visit.stage, visit.amount.tasks) for visit in visits] == [("resize", 1), ("split", 1)]


def test_an_operation_without_a_stage_is_named():
    with pytest.raises(Rejected, match="no stage carries operation 'blur'"):
        Path.of(batch(*LONG_ROUTE), OPERATIONS, (stage("front", "resize,split"),))


def test_sizes_are_worked_out_once():
    path = Path.of(batch(*LONG_ROUTE), OPERATIONS, chained())
    assert path.visits(photo()) is path.visits(photo())
