"""Spot nodes: workers that are killed more often than the broker allows deliveries, with all that they hold."""

import os

import pytest
from tests.chaos.harness import Harness, document
from tests.chaos.pictures import write_pictures

from muniflow.model.topology import DELIVERY_LIMIT

KILLS = int(os.environ.get("KILLS") or "0")
LONG = 100
LOSSES = DELIVERY_LIMIT + 10
IMAGES = 40
SLOW = "child.after_load=stall:0.5@*"
HELD = "muniflow_tasks_held"


@pytest.mark.timeout(600)
@pytest.mark.skipif(KILLS < LONG, reason=f"{LOSSES} starts of a worker: runs where KILLS is at least {LONG}")
def test_nodes_that_go_again_and_again_fail_no_image(node_settings, tmp_path, capsys):
    settings = node_settings
    with Harness(
        tmp_path, settings.settings, settings.node, {"blur": 1}, autostart=("coordinator",), variables={}
    ) as harness:
        harness.tending = False  # the test starts the worker itself
        worker = harness.services["blur-1"]
        worker.start(SLOW)
        harness.until_ready("coordinator", "blur-1")
        pictures = write_pictures(harness.root("source"), IMAGES)
        harness.submit(document("spot", pictures, [["blur", "gaussian"]], "jpg"))
        for _ in range(LOSSES):
            harness.until(lambda: worker.ready and harness.metric("blur-1", HELD) > 0, "tasks in its hands")
            worker.kill()
            worker.start(SLOW)
        worker.kill()
        worker.start()
        harness.until_ended("spot")
        harness.until_clean()
        guarantees = harness.guarantees("spot")
        with capsys.disabled():
            print(f"\nspot losses: {guarantees}; {LOSSES + 1} workers killed with what they held")
        assert guarantees.clean, f"{guarantees}\n{harness.tails()}"
        status = harness.status("spot")
        assert status is not None
        assert status.state == "done"
        assert harness.dead_letters() == 0
