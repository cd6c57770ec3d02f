import json

import pytest

from muniflow.model.messages import Command, Encoding, RawRef, RouteStep, Task, Tile
from muniflow.transport.admin import BrowsedMessage
from muniflow_cli.commands.dead_letters import is_meant, read_dead_letter, replay_of

TASK = Task(
    batch="utrecht",
    image=7,
    source="a.jpg",
    stem="a",
    destination="utrecht",
    encoding=Encoding(format="jpg"),
    route=(RouteStep(op="split", fan_out=4), RouteStep(op="blur")),
    step=1,
    tiles=(Tile(lineage=((2, 4),), pixels=RawRef(key="k", width_px=1, height_px=1, stride_bytes=3)),),
)
DEAD = "muniflow.step.blur.dead"


def letter(body=None, queue=DEAD, **headers):
    return read_dead_letter(BrowsedMessage(queue, TASK.to_bytes() if body is None else body, headers))


def test_a_task_that_a_worker_gave_up():
    found = letter(reason="not an image", step=1, failed_at=1000)

    assert (found.reason, found.step, found.batch, found.image) == ("not an image", 1, "utrecht", 7)
    assert found.lineages == (((2, 4),),)
    assert found.failed_at == 1000


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "unknown"),
        ({"x-death": []}, "unknown"),
        ({"x-death": [{"reason": "delivery_limit"}]}, "given up by the broker: delivery_limit"),
        ({"reason": "too large", "x-death": [{"reason": "rejected"}]}, "too large"),
    ],
)
def test_where_the_reason_comes_from(headers, reason):
    assert letter(**headers).reason == reason


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"{}", b"[1]", b'{"v": 2}'])
def test_a_letter_may_hold_anything(body):
    found = letter(body, queue="muniflow.batches.dead")

    assert found.batch is None
    assert replay_of(found) == "again"
    assert json.dumps(found.document(whole=True))


def test_a_task_is_replayed_by_opening_its_image_again():
    assert replay_of(letter()) == Command(action="reopen", batch="utrecht", image=7)


@pytest.mark.parametrize(
    ("batch", "image", "meant"),
    [(None, None, True), ("utrecht", None, True), ("delft", None, False), ("utrecht", 7, True), (None, 8, False)],
)
def test_which_letters_are_meant(batch, image, meant):
    assert is_meant(letter(), batch, image) is meant


def test_the_message_is_shown_only_when_it_is_asked_for():
    found = letter(reason="not an image")

    assert "message" not in found.document(whole=False)
    assert found.document(whole=True)["message"]["source"] == "a.jpg"
