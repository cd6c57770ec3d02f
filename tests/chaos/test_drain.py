"""SIGTERM loses nothing and ends soon; how many workers there are changes nothing in the result."""

import time

import pytest
from tests.chaos.harness import OPERATIONS, Harness, document
from tests.chaos.pictures import write_pictures
from tests.support.stopping import stopped

from muniflow_cli.stack.processes import session_members

IMAGES = 60
TASK_S = 0.5
"""The longest task of these tests."""
DRAIN_S = TASK_S + 5
SLOW = f"child.after_load=stall:{TASK_S}@*"
BRISK = "child.after_load=stall:0.02@*"
COUNTS = {"resize": 4, "split": 1, "blur": 4}
WORKERS = [f"{operation}-{number}" for operation, count in COUNTS.items() for number in range(1, count + 1)]


@pytest.fixture
def harness(node_settings, tmp_path):
    """Up to four workers of a step; a test says which of them run, and how fast."""
    variables = {"MUNIFLOW_WINDOW_IMAGES": "24"}
    with Harness(
        tmp_path, node_settings.settings, node_settings.node, COUNTS, variables, autostart=("coordinator",)
    ) as made:
        made.tending = False  # nothing may die here
        yield made


def start(harness, names, failpoints):
    for name in names:
        harness.services[name].start(failpoints)


def drain(harness, names):
    """SIGTERM, and the time until the last of them has ended, in seconds."""
    began_s = time.monotonic()
    for name in names:
        harness.services[name].terminate()
    for name in names:
        assert harness.services[name].process.wait(30) == 0, harness.services[name].text[-2000:]
    return time.monotonic() - began_s


def test_a_drain_hands_back_what_has_not_begun_and_ends_in_time(harness):
    first = [f"{operation}-1" for operation in OPERATIONS]
    start(harness, first, SLOW)
    harness.until_ready("coordinator", *first)
    harness.submit(document("drained", write_pictures(harness.root("source"), IMAGES)))
    harness.until(lambda: "split" in str(harness.intermediates()) or len(harness.intermediates()) > 1, "work in hand")
    assert drain(harness, first) <= DRAIN_S
    assert drain(harness, ["coordinator"]) <= DRAIN_S
    assert sum(harness.held_messages().values()) >= IMAGES // 4, "nothing was handed back"
    start(harness, ["coordinator", *first], "")
    harness.until_ended("drained")
    guarantees = harness.guarantees("drained")
    assert guarantees.clean, f"{guarantees}\n{harness.tails()}"


def test_one_worker_four_workers_one_worker(harness, capsys):
    first = [name for name in WORKERS if name.endswith("-1")]
    others = [name for name in WORKERS if not name.endswith("-1")]
    start(harness, first, BRISK)
    harness.until_ready("coordinator", *first)
    harness.submit(document("scaled", write_pictures(harness.root("source"), 3 * IMAGES)))
    harness.until(lambda: harness.done_images("scaled") > IMAGES // 2, "the first images")
    # On a busy machine the batch would end while the others start.
    with stopped(pid for name in first for pid in session_members(harness.services[name].process.pid)):
        start(harness, others, BRISK)
        harness.until_ready(*others)
    harness.until(lambda: any(harness.metric(name, TASKS_OF[name]) for name in others), "work for the new ones")
    assert not harness.ended("scaled"), "too fast for this test"
    slowest_s = drain(harness, others)
    harness.until_ended("scaled")
    harness.until_clean()
    guarantees = harness.guarantees("scaled")
    with capsys.disabled():
        print(f"\nscaled 1 to 4 to 1, drained in {slowest_s:.1f} s: {guarantees}")
    assert guarantees.clean, f"{guarantees}\n{harness.tails()}"
    assert slowest_s <= DRAIN_S


TASKS_OF = {name: f'muniflow_tasks_total{{outcome="done",step="{name.partition("-")[0]}"}}' for name in WORKERS}
