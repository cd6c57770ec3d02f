"""Messages come out as they went in, and are closed to what does not belong in them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from muniflow.model.messages import (
    Command,
    Encoding,
    Events,
    Message,
    Notice,
    RawRef,
    RouteStep,
    Settled,
    Tally,
    Task,
    Tile,
    leaf_count,
    output_name,
)

text = st.text(st.characters(codec="utf-8"), max_size=20)
numbers = st.integers(0, 2**40)
pair = st.integers(2, 64).flatmap(lambda of: st.tuples(st.integers(0, of - 1), st.just(of)))
lineages = st.lists(pair, max_size=4).map(tuple)
seconds = st.floats(0, 2e9)
route_steps = st.builds(
    RouteStep, op=text, params=st.dictionaries(text, st.integers() | text, max_size=3), fan_out=st.integers(1, 64)
)
pixels = st.builds(RawRef, key=text, width_px=st.integers(1), height_px=st.integers(1), stride_bytes=st.integers(3))
tasks = st.builds(
    Task,
    batch=text,
    image=numbers,
    source=text,
    stem=text,
    destination=text,
    encoding=st.builds(Encoding, format=st.sampled_from(["jpg", "png", "webp"]), quality=st.none()),
    route=st.lists(route_steps, min_size=1, max_size=4).map(tuple),
    run=numbers,
    step=st.just(0),
    tiles=st.lists(st.builds(Tile, lineage=lineages, pixels=pixels), max_size=3).map(tuple),
    attempt=st.integers(1, 20),
    published_at=seconds,
)
settled = st.builds(
    Settled, batch=text, image=numbers, run=numbers, lineage=lineages, reason=st.none() | text, step=st.integers(0, 31)
)
tallies = st.builds(Tally, batch=text, step=st.integers(0, 31), done=numbers, compute_s=seconds)
events = st.builds(
    Events, settled=st.lists(settled, max_size=5).map(tuple), tallies=st.lists(tallies, max_size=3).map(tuple)
)
commands = st.builds(Command, action=st.sampled_from(["cancel", "reopen"]), batch=text, image=st.none() | numbers)
notices = st.builds(
    Notice, batch=text, state=st.sampled_from(["running", "done", "rejected"]), total=numbers, at=seconds
)


@given(message=st.one_of(tasks, events, commands, notices))
def test_a_message_comes_back_as_it_was(message: Message) -> None:
    body = message.to_bytes()
    assert type(message).from_bytes(body) == message
    assert json.loads(body)["v"] == 1


@pytest.mark.parametrize(
    ("model", "document"),
    [
        (Command, {"action": "cancel", "batch": "b", "colour": 1}),
        (Command, {"action": "burn", "batch": "b"}),
        (Command, {"v": 2, "action": "cancel", "batch": "b"}),
        (Events, {"settled": [{"batch": "b", "image": 0, "lineage": [[0, 1]]}]}),
        (Events, {"settled": [{"batch": "b", "image": 0, "lineage": [[-1, 2]]}]}),
        (Task, {}),
    ],
)
def test_what_does_not_belong_is_an_error(model: type[Message], document: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        model.from_bytes(json.dumps(document).encode())


def test_what_a_newer_version_adds_is_left_out() -> None:
    event = {"batch": "b", "image": 0, "colour": 1}
    document = {"settled": [event], "tallies": [{"batch": "b", "step": 0, "colour": 1}], "colour": 1}
    (settled,) = Events.from_bytes(json.dumps(document).encode()).settled
    assert settled == Settled(batch="b", image=0)


def test_a_task_knows_the_parts_it_is_about_and_how_they_end() -> None:
    ref = RawRef(key="k", width_px=5, height_px=3, stride_bytes=15)
    whole = Task(
        batch="b", image=7, source="a", stem="a", destination="b", encoding=Encoding(format="jpg"), run=2,
        route=(RouteStep(op="split", fan_out=4), RouteStep(op="blur")),
    )  # fmt: skip
    tiles = tuple(Tile(lineage=((place, 4),), pixels=ref) for place in (1, 2))
    blur = whole.model_copy(update={"step": 1, "tiles": tiles})
    assert (whole.lineages, whole.input_px) == (((),), None)
    assert (blur.lineages, blur.input_px) == ((((1, 4),), ((2, 4),)), 30)
    assert whole.part_done(()) == Settled(batch="b", image=7, run=2, direct=True)
    assert whole.part_done(((1, 4),)) == Settled(batch="b", image=7, run=2, lineage=((1, 4),))
    assert not blur.part_done(()).direct, "another process has decoded it, and left pixels"
    assert blur.failed("torn", "image_damaged") == tuple(
        Settled(batch="b", image=7, run=2, lineage=lineage, reason="torn", step=1, code="image_damaged")
        for lineage in blur.lineages
    )


@given(body=st.binary(max_size=200))
def test_bytes_that_are_no_message_are_a_validation_error(body: bytes) -> None:
    with pytest.raises(ValidationError):
        Task.from_bytes(body)


@pytest.mark.parametrize(("fan_outs", "leaves"), [([], 1), ([1], 1), ([4], 4), ([1, 4, 1, 4], 16)])
def test_leaf_count(fan_outs: list[int], leaves: int) -> None:
    assert leaf_count(tuple(RouteStep(op="x", fan_out=fan_out) for fan_out in fan_outs)) == leaves


def test_output_name() -> None:
    assert output_name("north/a", 3, Encoding(format="webp")) == "north/a-3.webp"


def test_a_task_names_the_operation_it_wants() -> None:
    route = (RouteStep(op="resize"), RouteStep(op="blur"))
    task = Task(batch="b", image=0, source="a", stem="a", destination="b", encoding=Encoding(format="jpg"), route=route)
    assert (task.op, task.model_copy(update={"step": 1}).op) == ("resize", "blur")
