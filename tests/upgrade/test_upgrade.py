"""Two builds at once: the short form of `make test-upgrade`, and that it can fail."""

import json

import pytest
from tests.chaos.harness import Harness, document
from tests.upgrade import builds
from tests.upgrade.walk import POISON, RECOMMENDED, walk_through

from muniflow.model.keys import REPORT
from muniflow.model.topology import step_queue
from muniflow.transport.admin import open_channel, republish
from muniflow.transport.types import OutgoingMessage

LATER = 9
"""The version of a message that neither build understands."""
pytestmark = pytest.mark.timeout(600)  # for a machine with much other work; it takes a tenth of it


def test_there_and_back_while_batches_run(walk, older, capsys):
    result = walk_through(walk, older, builds.this_tree(), [RECOMMENDED])
    with capsys.disabled():
        print(f"\n{result}")
    assert result.guarantees.clean, f"{result}\n{walk.harness.tails()}"


def test_a_field_with_another_name_is_found(walk, older, tmp_path):
    """A build that says `start_bytes` where the older one says `offset_bytes`, and `v: 1` all the same."""
    broken = builds.renamed(older, tmp_path / "broken", "offset_bytes", "start_bytes")
    walk.run_on(older)
    walk.put("split-1", broken)
    walk.harness.until_ready("split-1")
    walk.harness.submit(walk.document(0, "misread"))
    walk.harness.until_ended("misread")
    assert walk.harness.guarantees("misread").wrong > 0


@pytest.mark.parametrize("which", ["older", "this tree"])
def test_a_worker_refuses_a_task_of_a_later_version(walk, older, which):
    """Its image fails with that reason, its neighbours are done, and no worker ends."""
    build = older if which == "older" else builds.this_tree()
    walk.stop("resize-1")
    walk.ensure("coordinator", builds.this_tree())
    walk.ensure("blur-1", older)
    walk.harness.until_ready("coordinator")
    sent = document(f"later-{which[:4]}", walk.pictures[:4], [["resize", "50%"], ["blur", "gaussian"]])
    batch = sent["batch_id"]
    walk.harness.submit(sent)
    make_later(walk.harness, batch, image=2)
    walk.start("resize-1", build)
    walk.harness.until_ended(batch)
    images = json.loads((walk.harness.root("output") / batch / REPORT).read_bytes())["images"]
    assert [image["state"] for image in images] == ["done", "done", "failed", "done"]
    assert f"refused this task (message version {LATER}): update the workers" in images[2]["reasons"][0]
    assert f"message version {LATER}; this build understands " in walk.harness.services["resize-1"].text
    assert walk.harness.services["resize-1"].running


def make_later(harness: Harness, batch: str, image: int) -> None:
    """Give the task of an image a field of a later build, and its version."""
    queue = step_queue("resize")
    with open_channel(harness.settings) as channel:

        def found() -> bool:
            frame, _, body = channel.basic_get(queue)
            if frame is None or body is None:
                return False
            task = json.loads(body)
            mine = (task["batch"], task["image"]) == (batch, image)
            later = {**task, "v": LATER, "colour": "lab"} if mine else task
            republish(channel, OutgoingMessage(queue, json.dumps(later).encode(), exchange=""))
            channel.basic_ack(frame.delivery_tag or 0)
            return mine

        harness.until(found, "the task of the image")


def test_an_archived_batch_there_and_back(walk, older):
    """The earlier build lists it with its report and runs nothing of it; back here its images are as they were."""
    harness, this = walk.harness, builds.this_tree()
    for name in (*walk.names("workers"), "coordinator"):
        walk.ensure(name, this)
    harness.until_ready(*walk.names("workers"), "coordinator")
    harness.submit(document("archived", [*walk.pictures[:3], POISON], [["resize", "50%"]]))
    harness.until_ended("archived")
    images = list(harness.client.images("archived"))
    walk.stop("coordinator")
    harness.coordinator.start(MUNIFLOW_ARCHIVE_AFTER_DAYS="0.00001")
    harness.until(lambda: getattr(harness.status("archived"), "archived_at", None) is not None, "the archive")
    here = harness.status("archived")
    walk.put("coordinator", older)
    harness.until_ready("coordinator")
    harness.command("reopen", "archived")
    harness.until(lambda: not harness.held_messages(), "a replay of nothing")
    there = harness.status("archived")
    assert (there.state, there.done, there.failed, there.report) == ("partial", 3, 1, here.report)
    walk.put("coordinator", this)
    harness.until_ready("coordinator")
    assert harness.status("archived") == here
    assert list(harness.client.images("archived")) == images
    harness.command("erase", "archived")
    harness.until(lambda: harness.gone("archived"), "the erasure")
    assert [path for path in (harness.root("output") / "archived").rglob("*") if path.is_file()] == []
