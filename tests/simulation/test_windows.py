"""The coordinator's windows keep a fleet of 100 replicas busy with the defaults; those of before did not."""

import pytest
from tests.simulation.scaling.forecaster import BUDGET_BYTES, WINDOW_IMAGES
from tests.simulation.scaling.workers import busy_part

from muniflow.forecast.load import Capacity
from muniflow.forecast.stage import Stage
from muniflow.forecast.window import LEAST_IMAGES
from muniflow.forecast.work import StageWork
from muniflow_coordinator.runs.window import WindowNeed, windows_of

REPLICAS = 100
CHILDREN = 2
ROUTES = {
    "12 MP, resize": (12.0, (0.15,), (REPLICAS,)),
    "12 MP, resize and blur": (12.0, (0.15, 0.24), (63, REPLICAS)),
    "1 MP, resize and blur": (1.0, (0.015, 0.023), (65, REPLICAS)),
    "64 MP, blur": (64.0, (1.3,), (REPLICAS,)),
}


def window(megapixels, task_s, replicas, running=1.0):
    """Images; `running`: the part of the replicas that run, the rest is wanted."""
    stages = [Stage(name=f"s{n}", operations=(f"o{n}",), children=CHILDREN, max_replicas=REPLICAS)
              for n in range(len(task_s))]  # fmt: skip
    fleet = [Capacity(stage, int(n * running), n - int(n * running))
             for stage, n in zip(stages, replicas, strict=True)]  # fmt: skip
    work = {stage.name: StageWork(1e9, one_s, 1.0, one_s) for stage, one_s in zip(stages, task_s, strict=True)}
    need = WindowNeed(work, megapixels * 1e6, int(3e6 * megapixels * (len(task_s) - 1)))
    found = windows_of({1: need}, fleet, BUDGET_BYTES, WINDOW_IMAGES)
    return min(found.windows[1].images, found.total)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("running", [1.0, 0.1])
def test_a_hundred_replicas_are_busy_while_work_waits(route, running):
    megapixels, task_s, replicas = ROUTES[route]
    children = [n * CHILDREN for n in replicas]
    assert busy_part(task_s, children, window(megapixels, task_s, replicas, running), 40 * max(task_s)) > 0.9


def test_a_fixed_window_leaves_half_of_them_idle():
    megapixels, task_s, replicas = ROUTES["12 MP, resize and blur"]
    children = [n * CHILDREN for n in replicas]
    assert window(megapixels, task_s, replicas) > 2 * LEAST_IMAGES
    assert busy_part(task_s, children, LEAST_IMAGES, 40 * max(task_s)) < 0.9
