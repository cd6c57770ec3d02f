"""Reading a batch: every fault named by its place, nothing but `Invalid`, whatever comes in."""

import json
from contextlib import suppress
from typing import Any, Self

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from muniflow.errors import Fault, Invalid
from muniflow.model.batch import MAX_DOCUMENT_BYTES, Batch, read_batch
from muniflow.model.batch_document import MAX_STEPS, BatchDocument
from muniflow.model.batch_schema import batch_schema
from muniflow.model.deadline import past_faults, show_time
from muniflow.model.operation import Operation, Params, Size, installed_operations
from muniflow.model.rendering import Rendering


class CutParams(Params):
    """A made-up operation: `["cut", 3]`."""

    into: int = Field(default=2, ge=1)
    name: str | None = None

    @classmethod
    def from_short(cls, value: object) -> Self:
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError("write a number of parts")
        return cls(into=value)

    def sizes(self, source: Size) -> tuple[Size, ...]:
        return (source,) * self.into

    @property
    def fan_out(self) -> int:
        return self.into


OPERATIONS = {"cut": Operation("cut", CutParams, "Cuts, for tests.", (["cut", 3], {"op": "cut", "into": 3}))}


def document(**changes: Any) -> dict[str, Any]:
    base = {"batch_id": "b", "source": "in", "operations": [["cut", 3]]}
    return {name: value for name, value in (base | changes).items() if value is not None}


def read(**changes: Any) -> Batch:
    return read_batch(json.dumps(document(**changes)), OPERATIONS)


def test_a_byte_order_mark_is_ignored() -> None:
    """As editors of Windows write it."""
    plain = read()
    text = "\ufeff" + json.dumps(document())
    assert read_batch(text, OPERATIONS) == plain
    assert read_batch(text.encode(), OPERATIONS) == plain


def test_what_a_batch_becomes() -> None:
    batch = read(municipality="Utrecht", source="in/", output={"format": "jpeg", "quality": 80}, weight=3)
    assert (batch.batch_id, batch.source, batch.destination, batch.weight) == ("b", "in/", "b", 3)
    assert (batch.encoding.format, batch.encoding.quality) == ("jpg", 80)
    assert batch.route[0].model_dump() == {"op": "cut", "params": {"into": 3}, "fan_out": 3}
    assert (batch.images, batch.manifest, batch.decode) == (None, None, "exact")


@pytest.mark.parametrize(
    ("changes", "places"),
    [
        ({"batch_id": "-b"}, ["batch_id"]),
        ({"batch_id": "a/b"}, ["batch_id"]),
        ({"batch_id": "b" * 81}, ["batch_id"]),
        ({"batch_id": 7}, ["batch_id"]),
        ({"colour": 1}, ["colour"]),
        ({"municipality": "x" * 201}, ["municipality"]),
        ({"source": None}, ["source"]),
        ({"source": "../up"}, ["source"]),
        ({"source": "/root"}, ["source"]),
        ({"destination": "a/../b"}, ["destination"]),
        ({"images": []}, ["images"]),
        ({"images": ["ok.jpg", "", "a//b"]}, ["images[1]", "images[2]"]),
        ({"images": ["ok.jpg", 7]}, ["images[1]"]),
        ({"images": ["a.jpg"], "manifest": "list.txt"}, ["manifest"]),
        ({"manifest": "a\\b"}, ["manifest"]),
        ({"operations": []}, ["operations"]),
        ({"operations": None}, ["operations"]),
        ({"operations": [["cut", 1]] * (MAX_STEPS + 1)}, ["operations"]),
        ({"operations": [["cut", 64]] * 3}, ["operations"]),
        ({"operations": [["cut", 1], ["sharpen", 1]]}, ["operations[1]"]),
        ({"operations": [["cut", "x"]]}, ["operations[0]"]),
        ({"operations": [{"op": "cut", "into": "x"}]}, ["operations[0].into"]),
        ({"operations": [{"op": "cut", "deep": 1}]}, ["operations[0].deep"]),
        ({"operations": ["cut", {"op": 3}, [1, 2]]}, ["operations[0]", "operations[1]", "operations[2]"]),
        ({"output": "gif"}, ["output"]),
        ({"output": {"format": "gif"}}, ["output.format"]),
        ({"output": {"format": "png", "quality": 3}}, ["output.quality"]),
        ({"output": {"format": "jpg", "quality": 0}}, ["output.quality"]),
        ({"output": {"format": "jpg", "quality": "9", "depth": 3}}, ["output.quality", "output.depth"]),
        ({"output": {}}, ["output.format"]),
        ({"output": 5}, ["output"]),
        ({"weight": 0}, ["weight"]),
        ({"weight": 101}, ["weight"]),
        ({"decode": "quick"}, ["decode"]),
        ({"color": "p3"}, ["color"]),
        ({"metadata": "all"}, ["metadata"]),
        ({"alpha": "drop"}, ["alpha"]),
        ({"alpha": "keep"}, ["alpha"]),
        ({"alpha": "flatten", "bands": [1, 2, 3]}, ["alpha"]),
        ({"background": "white"}, ["background"]),
        ({"background": "#fff"}, ["background"]),
        ({"background": "#fffffff"}, ["background"]),
        ({"background": "#ffffff", "output": "png"}, ["background"]),
        ({"bands": [1, 2]}, ["bands"]),
        ({"bands": [1, 2, 3, 4]}, ["bands"]),
        ({"bands": [0, 1, 2]}, ["bands[0]"]),
        ({"bands": [1, 2, "3"]}, ["bands[2]"]),
        ({"priority": "urgent"}, ["priority"]),
        ({"priority": 1}, ["priority"]),
        ({"deadline": 1906556400}, ["deadline"]),
        ({"deadline": "soon"}, ["deadline"]),
        ({"deadline": "2030-06-01"}, ["deadline"]),
        ({"deadline": "2030-06-01T17:00:00"}, ["deadline"]),
        ({"deadline": "2030-06-01T17:00+02:00"}, ["deadline"]),
        ({"deadline": "2030-02-30T17:00:00Z"}, ["deadline"]),
        ({"deadline": "9999-12-31T23:59:59-12:00"}, ["deadline"]),
        ({"deadline": "0001-01-01T00:00:00+12:00"}, ["deadline"]),
        ({"batch_id": "-", "output": "gif", "operations": [["x", 1]]}, ["operations[0]", "batch_id", "output"]),
        (
            {"weight": 0, "colour": 1, "operations": [["x", 1]], "batch_id": "-", "output": "gif", "manifest": "/m"},
            ["weight", "colour", "operations[0]", "batch_id", "manifest", "output"],
        ),
        ({"operations": 7, "source": "../up"}, ["operations", "source"]),
        ({"source": 7, "alpha": 1, "background": "#ffffff", "output": "png"}, ["source", "alpha"]),
    ],
)
def test_every_fault_is_named_by_its_place(changes: dict[str, Any], places: list[str]) -> None:
    with pytest.raises(Invalid) as raised:
        read(**changes)
    assert [fault.place for fault in raised.value.faults] == places
    assert all(fault.problem for fault in raised.value.faults)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b"null", b"\xff\xfe", b'{"a":' * 100_000, b'"' + b"x" * 100])
def test_what_is_no_json_object_is_one_fault_of_the_whole(body: bytes) -> None:
    with pytest.raises(Invalid) as raised:
        read_batch(body, OPERATIONS)
    (fault,) = raised.value.faults
    assert fault.place == ""


def test_a_document_that_is_too_large_says_what_to_do() -> None:
    with pytest.raises(Invalid, match="name it as `manifest`"):
        read_batch(b" " * (MAX_DOCUMENT_BYTES + 1), OPERATIONS)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)
fields = st.sampled_from(
    [
        "batch_id",
        "municipality",
        "source",
        "images",
        "manifest",
        "operations",
        "output",
        "destination",
        "decode",
        "deadline",
        "priority",
        "x",
    ]
)
entries = st.one_of(
    json_values,
    st.tuples(st.just("cut"), json_values).map(list),
    st.fixed_dictionaries({"op": st.just("cut")}, optional={"into": json_values, "name": json_values}),
)


@settings(max_examples=150)
@given(changes=st.dictionaries(fields, json_values, max_size=4), operations=st.none() | st.lists(entries, max_size=4))
def test_nothing_but_invalid_whatever_the_fields_hold(changes: dict[str, Any], operations: list[Any] | None) -> None:
    whole = document(**changes) | ({} if operations is None else {"operations": operations})
    with suppress(Invalid):
        assert read_batch(json.dumps(whole), OPERATIONS).route


@settings(max_examples=150)
@given(body=st.binary(max_size=100) | st.text(max_size=100))
def test_nothing_but_invalid_whatever_the_bytes(body: bytes | str) -> None:
    with pytest.raises(Invalid):
        read_batch(body, OPERATIONS)


def test_what_is_chosen_of_colours_is_content_and_its_default_is_not() -> None:
    assert read(color="srgb").rendering is None
    assert read(color="srgb").fingerprint == read().fingerprint
    kept = read(color="keep")
    assert kept.rendering == Rendering(color="keep")
    assert kept.fingerprint != read().fingerprint
    for written in ({"alpha": "flatten"}, {"background": "#FFFFFF"}):
        assert read(**written).rendering is None
        assert read(**written).fingerprint == read().fingerprint
    assert read(alpha="keep", output="png").fingerprint == read(output="png").fingerprint
    for changes in ({"background": "#FF0000"}, {"bands": [1, 2, 3]}, {"output": "png", "alpha": "flatten"}):
        plain = {name: value for name, value in changes.items() if name == "output"}
        assert read(**changes).fingerprint != read(**plain).fingerprint
    assert read(background="#FF0000").rendering == Rendering(background="#ff0000")
    assert read(metadata="strip").rendering is None
    assert read(metadata="gps").rendering == Rendering(metadata="gps")
    assert read(bands=[4, 1, 2]).rendering == Rendering(bands=(4, 1, 2))


def test_the_fingerprint_is_of_the_content_and_not_of_its_form() -> None:
    short = read()
    assert read(operations=[{"op": "cut", "into": 3}]).fingerprint == short.fingerprint
    assert read(batch_id="other").fingerprint == short.fingerprint
    assert read(output={"format": "jpg"}).fingerprint == short.fingerprint
    for changes in ({"output": "png"}, {"source": "other"}, {"operations": [["cut", 2]]}, {"weight": 2}):
        assert read(**changes).fingerprint != short.fingerprint


def test_a_batch_without_an_id_gets_one_from_its_content() -> None:
    first, second = read(batch_id=None), read(batch_id=None)
    assert first.batch_id == second.batch_id
    assert first.batch_id.startswith("batch-")
    assert first.destination == first.batch_id


def test_the_schema_takes_what_the_reader_takes() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = batch_schema(OPERATIONS)
    turns = document(deadline="2030-06-01T17:00:00+02:00", priority="low")
    for good in (
        document(),
        turns,
        document(operations=[{"op": "cut", "into": 2}], output={"format": "jpg", "quality": 3}),
    ):
        read_batch(json.dumps(good), OPERATIONS)
        jsonschema.validate(good, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document(operations=[{"op": "cut", "deep": 1}]), schema)


CONDITIONS = frozenset({"if", "then", "else", "not"})
"""Say of fields that are described elsewhere what goes together; so does `anyOf` beside fields."""


def undescribed(schema: Any, place: str = "") -> list[str]:
    found = []
    if isinstance(schema, dict):
        fields = schema.get("properties")
        for name, field in (fields or {}).items():
            if not field.get("description"):
                found.append(f"{place}.{name}")
        for name, inner in schema.items():
            if name in CONDITIONS or (name == "anyOf" and fields):
                continue
            found += undescribed(inner, f"{place}.{name}")
    elif isinstance(schema, list):
        for inner in schema:
            found += undescribed(inner, place)
    return found


def test_every_field_of_the_schema_has_a_description() -> None:
    assert undescribed(batch_schema(installed_operations())) == []


def test_what_is_wrong_beside_its_fields_is_told_with_them_and_only_then() -> None:
    def also(read: BatchDocument) -> list[Fault]:
        return [Fault("source", f"no {read.source}"), Fault("weight", str(read.weight))]

    assert read_batch(json.dumps(document()), OPERATIONS, also=also).weight == 1
    with pytest.raises(Invalid) as raised:
        read_batch(json.dumps(document(weight="2")), OPERATIONS, also=also)
    assert [str(fault) for fault in raised.value.faults[1:]] == ["source: no in"]


def test_a_deadline_is_a_moment_however_it_is_written() -> None:
    assert read().deadline_at is None
    for text in ("2030-06-01T17:00:00+02:00", "2030-06-01T15:00:00Z", "2030-06-01t15:00:00.000z"):
        assert read(deadline=text).deadline_at == 1906556400.0
    assert read(deadline="2001-01-01T00:00:00Z").deadline_at == 978307200.0, (
        "it may have passed: the batch may be known"
    )


def test_the_same_id_with_another_deadline_or_priority_is_the_same_batch() -> None:
    # It says when, not what. So one that is sent again is recognised, also one that was sent to the build before.
    assert read(deadline="2030-06-01T17:00:00Z", priority="high").fingerprint == read().fingerprint
    assert read().fingerprint == "67ec5d6e29c70090e88d0a70367c5df2703321552d62402f2eb81486d7259af5"


def test_only_what_nobody_has_accepted_is_held_to_its_deadline() -> None:
    assert past_faults(None, 10.0) == past_faults(10.5, 10.0) == ()
    for deadline_at in (10.0, 9.0):
        (fault,) = past_faults(deadline_at, 10.0)
        assert fault.place == "deadline"
        assert "1970-01-01T00:00:10Z" in fault.problem


@given(text=st.text(max_size=40) | st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"))
def test_what_a_deadline_is_read_as_is_shown_and_read_again(text: str) -> None:
    with suppress(Invalid):
        found = read(deadline=text).deadline_at
        assert found is not None
        assert read(deadline=show_time(found)).deadline_at == found // 1


@pytest.mark.parametrize(("changes", "valid"), [
    ({}, True), ({"batch_id": "a b"}, False), ({"batch_id": ".a"}, False), ({"batch_id": "a.b"}, True),
    ({"output": "gif"}, False), ({"output": "jpeg"}, True), ({"output": {"format": "gif"}}, False),
    ({"output": {"format": "jpg", "quality": True}}, False), ({"weight": "5"}, False), ({"weight": 101}, False),
    ({"priority": "urgent"}, False), ({"deadline": 5}, False), ({"deadline": "tomorrow"}, False),
    ({"deadline": "2030-06-01 17:00:00.5z"}, True), ({"output": {"format": "png", "quality": 5}}, False),
    ({"images": []}, False), ({"decode": "slow"}, False),
])  # fmt: skip
def test_schema_and_validation_accept_the_same(changes, valid):
    whole = document(**changes)
    schema = jsonschema.Draft202012Validator(batch_schema(OPERATIONS))
    assert schema.is_valid(whole) == valid
    try:
        read_batch(json.dumps(whole), OPERATIONS)
    except Invalid:
        assert not valid
    else:
        assert valid


TEXTS = ["a", "a/b", "/a", "jpg", "png", "gif", "exact", "fast", "keep", "srgb", "flatten", "#ffffff", "#fff", "low"]
LISTS: list[object] = [[], ["a.jpg"], ["a.jpg", 1], [1, 2, 3], [1, 1]]
OBJECTS: list[object] = [{}, {"format": "jpg"}, {"format": "png", "quality": 5}, {"quality": 5}]
MORE: list[object] = ["all", "gps", "2030-06-01T17:00:00Z", "", "x" * 201]
PLAIN: list[object] = [None, True, False, 0, 1, -1, 2, 5, 100, 101, 0.5, 1e3]
ANYTHING = st.sampled_from([*TEXTS, *MORE, *LISTS, *OBJECTS, *PLAIN])


@given(st.dictionaries(st.sampled_from(sorted(BatchDocument.model_fields)), ANYTHING, max_size=4))
def test_the_schema_refuses_nothing_that_is_taken(changes: dict[str, Any]) -> None:
    """The other way round not always: rules between two fields, and keys of stores, are not in it."""
    whole = document(**changes)
    with suppress(Invalid):
        read_batch(json.dumps(whole), OPERATIONS)
        jsonschema.validate(whole, batch_schema(OPERATIONS), jsonschema.Draft202012Validator)
