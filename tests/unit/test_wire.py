"""A field that changes pixels or meaning makes its message `v: 2`, which an earlier build refuses."""

import json
from typing import Annotated, Any, ClassVar, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from tests.unit.test_messages import tasks

from muniflow.model import messages
from muniflow.model.messages import Command, Encoding, Events, Message, Notice, RawRef, RouteStep, Tally, Task, Tile
from muniflow.model.wire import Since, needed_version


class LaterStep(RouteStep):
    """A step of a later build, with a field that an earlier one must not leave out."""

    gamma: Annotated[float, Since(3)] = 1.0


class LaterTile(Tile):
    """A part of a later build that nobody needs to know of."""

    label: str = ""
    turned: Annotated[bool, Since(4)] = False


class LaterTask(Task):
    """The same of a task."""

    understands: ClassVar[int] = 4

    route: tuple[LaterStep, ...]
    tiles: tuple[LaterTile, ...] = ()
    colour: Annotated[str, Since(3)] = "rgb"
    hint: str = ""


def later(task: Task, **fields: Any) -> LaterTask:
    return LaterTask.model_validate_json(task.to_bytes()).model_copy(update=fields)


REF = RawRef(key="b/0/0/0-0-whole.raw", width_px=2, height_px=1, stride_bytes=6)
TASK = Task(
    batch="b", image=3, source="é.jpg", stem="é", destination="d", encoding=Encoding(format="jpg", quality=80), run=1,
    route=(RouteStep(op="split", params={"columns": 2}, fan_out=4), RouteStep(op="blur")), step=1, decode="fast",
    tiles=(Tile(lineage=((0, 4),), pixels=REF),), attempt=2, published_at=0.5,
)  # fmt: skip


@pytest.mark.parametrize(("message", "body"), [
    (TASK, ('{"v":1,"batch":"b","image":3,"source":"é.jpg","stem":"é","destination":"d","encoding":{"format":"jpg",'
     '"quality":80},"decode":"fast","route":[{"op":"split","params":{"columns":2},"fan_out":4},{"op":"blur","params":{},'
     '"fan_out":1}],"run":1,"step":1,"tiles":[{"lineage":[[0,4]],"pixels":{"key":"b/0/0/0-0-whole.raw","width_px":2,'
     '"height_px":1,"stride_bytes":6,"offset_bytes":0}}],"attempt":2,"published_at":0.5}')),
    (Events(settled=TASK.failed("torn", "image_damaged"), published_at=1.0),
     ('{"v":1,"settled":[{"batch":"b","image":3,"run":1,"lineage":[[0,4]],"reason":"torn","step":1,"direct":false,"code":"image_damaged"}],'
     '"tallies":[],"published_at":1.0}')),
    (Events(tallies=(Tally(batch="b", step=1, done=3, retried=1, waiting_for="store", pixels=9, compute_s=0.5),)),
     ('{"v":1,"settled":[],"tallies":[{"batch":"b","step":1,"done":3,"failed":0,"retried":1,"waiting_for":"store",'
     '"pixels":9,"compute_s":0.5}],"published_at":0.0}')),
    (Command(action="cancel", batch="b"), '{"v":1,"action":"cancel","batch":"b"}'),
    (Notice(batch="b", state="done", total=2, done=2),
     ('{"v":1,"batch":"b","state":"done","owner":"default","municipality":"","total":2,"done":2,"failed":0,'
     '"cancelled":0,"faults":[],"at":0.0}')),
], ids=["Task", "Events", "Tally", "Command", "Notice"])  # fmt: skip
def test_messages_travel_as_they_did_before_there_were_versions(message: Message, body: str) -> None:
    assert message.to_bytes().decode() == body


@given(task=tasks)
def test_without_such_a_field_an_earlier_build_reads_it(task: Task) -> None:
    assert json.loads(later(task).to_bytes())["v"] == 1
    assert Task.from_bytes(later(task, hint="x").to_bytes()) == task, "what may be left out is left out"


@given(task=tasks, gamma=st.floats(0.1, 5), turned=st.booleans(), colour=st.sampled_from(["rgb", "lab"]))
def test_the_version_is_that_of_the_fields_that_are_set_however_deep(
    task: Task, gamma: float, turned: bool, colour: str
) -> None:
    made = later(task, colour=colour)
    made = made.model_copy(
        update={
            "route": (*made.route[:-1], made.route[-1].model_copy(update={"gamma": gamma})),
            "tiles": tuple(tile.model_copy(update={"turned": turned}) for tile in made.tiles),
        }
    )
    needed = 4 if turned and made.tiles else 3 if gamma != 1 or colour != "rgb" else 1
    body = made.to_bytes()
    assert json.loads(body)["v"] == needed == needed_version(made)
    assert LaterTask.from_bytes(body).to_bytes() == body
    if needed == 1:
        assert Task.from_bytes(body) == task
    else:
        with pytest.raises(ValidationError, match=f"message version {needed}; this build understands 2: update it"):
            Task.from_bytes(body)


def test_what_is_handed_on_has_the_version_of_its_own_fields() -> None:
    """A later worker reads a task with `v: 3`, and what it hands on needs no more than it says."""
    read = LaterTask.from_bytes(later(TASK, colour="lab").to_bytes())
    assert read.v == 3
    assert json.loads(read.model_copy(update={"attempt": 2}).to_bytes())["v"] == 3
    assert json.loads(read.model_copy(update={"colour": "rgb"}).to_bytes())["v"] == 1


@pytest.mark.parametrize("v", [0, -1, 2, 1.5, "1", True, None])
def test_no_other_version_is_read(v: Any) -> None:
    with pytest.raises(ValidationError):
        Command.from_bytes(json.dumps({"v": v, "action": "cancel", "batch": "b"}).encode())


def highest_since(model: type[BaseModel]) -> int:
    """The highest `Since` of a model and its parts."""
    found = [1]
    for field in model.model_fields.values():
        found += [mark.v for mark in field.metadata if isinstance(mark, Since)]
        found += [highest_since(part) for part in models_in(field.annotation)]
    return max(found)


def models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in models_in(argument)]


MESSAGES = [each for each in vars(messages).values() if isinstance(each, type) and issubclass(each, Message)]


@pytest.mark.parametrize("model", [*MESSAGES, LaterTask], ids=lambda model: model.__name__)
def test_a_message_understands_what_it_has(model: type[Message]) -> None:
    assert model.understands == highest_since(model)
    assert model.model_fields["v"].default == 1
