"""SIGTERM loses nothing and ends soon; how many workers there are changes nothing in the result."""

import time

import pytest
from tests.chaos.pictures import write_pictures
from tests.chaos.world import OPERATIONS, World, document

IMAGES = 60
TASK_S = 0.5
"""The longest task of these tests."""
DRAIN_S = TASK_S + 5
SLOW = f"child.after_load=stall:{TASK_S}@*"
BRISK = "child.after_load=stall:0.02@*"
COUNTS = {"resize": 4, "split": 1, "blur": 4}
WORKERS = [f"{operation}-{number}" for operation, count in COUNTS.items() for number in range(1, count + 1)]


@pytest.fixture
def world(node_settings, tmp_path):
    """Up to four workers of a step; a test says which of them run, and how fast."""
    variables = {"MUNIFLOW_WINDOW_IMAGES": "24"}
    with World(
        tmp_path, node_settings.settings, node_settings.node, COUNTS, variables, autostart=("coordinator",)
    ) as made:
        made.tending = False  # nothing may die here
        yield made


def start(world, names, failpoints):
    for name in names:
        world.services[name].start(failpoints)


def drain(world, names):
    """SIGTERM, and the time until the last of them has ended, in seconds."""
    began_s = time.monotonic()
    for name in names:
        world.services[name].terminate()
    for name in names:
        assert world.services[name].process.wait(30) == 0, world.services[name].text[-2000:]
    return time.monotonic() - began_s


def test_a_drain_hands_back_what_has_not_begun_and_ends_in_time(world):
    first = [f"{operation}-1" for operation in OPERATIONS]
    start(world, first, SLOW)
    world.until_ready("coordinator", *first)
    world.submit(document("drained", write_pictures(world.root("source"), IMAGES)))
    world.until(lambda: "split" in str(world.intermediates()) or len(world.intermediates()) > 1, "work in hand")
    assert drain(world, first) <= DRAIN_S
    assert drain(world, ["coordinator"]) <= DRAIN_S
    assert sum(world.held_messages().values()) >= IMAGES // 4, "nothing was handed back"
    start(world, ["coordinator", *first], "")
    world.until_ended("drained")
    verdict = world.verdict("drained")
    assert verdict.clean, f"{verdict}\n{world.tails()}"


def test_one_worker_four_workers_one_worker(world, capsys):
    first = [name for name in WORKERS if name.endswith("-1")]
    others = [name for name in WORKERS if not name.endswith("-1")]
    start(world, first, BRISK)
    world.until_ready("coordinator", *first)
    world.submit(document("scaled", write_pictures(world.root("source"), 3 * IMAGES)))
    world.until(lambda: world.done_images("scaled") > IMAGES // 2, "the first images")
    start(world, others, BRISK)
    world.until_ready(*others)
    world.until(lambda: any(world.metric(name, TASKS_OF[name]) for name in others), "work for the new ones")
    assert not world.ended("scaled"), "too fast for this test"
    slowest_s = drain(world, others)
    world.until_ended("scaled")
    world.until_clean()
    verdict = world.verdict("scaled")
    with capsys.disabled():
        print(f"\nscaled 1 to 4 to 1, drained in {slowest_s:.1f} s: {verdict}")
    assert verdict.clean, f"{verdict}\n{world.tails()}"
    assert slowest_s <= DRAIN_S


TASKS_OF = {name: f'muniflow_tasks_total{{outcome="done",step="{name.partition("-")[0]}"}}' for name in WORKERS}
