import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muniflow.errors import Invalid, Unavailable
from muniflow.images.limits import DEFAULT_LIMITS
from muniflow.model.operation import installed_operations
from muniflow.store.local import LocalStore
from muniflow_gateway.problems import Problem
from muniflow_gateway.settings import GatewaySettings
from muniflow_gateway.upload.documents import Rights, document_of
from muniflow_gateway.upload.multipart import FormReader, Sink, boundary_of

JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 40
ACTIONS = json.dumps({"operations": [["resize", "50%"]], "output": "jpg"})
OPERATIONS = installed_operations()
RIGHTS = Rights("default", {})
NOW_S = datetime(2030, 6, 1, 16, tzinfo=UTC).timestamp()


def part(name, body, filename=None):
    label = f'; filename="{filename}"' if filename is not None else ""
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{label}\r\n\r\n'.encode() + body + b"\r\n"


def form(*deps):
    return b"".join(deps) + b"--b--\r\n"


def read(body, store, *, sizes=(65536,), **limits):
    async def chunks():
        start = 0
        number = 0
        while start < len(body):
            size = sizes[number % len(sizes)]
            yield body[start : start + size]
            start += size
            number += 1

    async def run():
        with ThreadPoolExecutor(2) as executor:
            sink = Sink(store, "up/1/", executor, durable=False)
            return await FormReader("b", sink, GatewaySettings(**limits), DEFAULT_LIMITS).read(chunks())

    return asyncio.run(run())


@pytest.fixture
def store(tmp_path):
    return LocalStore(tmp_path / "source")


def keys_in(store, tmp_path):
    return [blob.key for blob in store.list()] if (tmp_path / "source").exists() else []


@settings(max_examples=25)
@given(sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=5))
def test_a_form_is_the_same_however_it_is_cut(tmp_path_factory, sizes):
    store = LocalStore(tmp_path_factory.mktemp("s") / "source")
    body = form(part("actions", ACTIONS.encode()), part("files", JPEG, "a.jpg"), part("files", JPEG[:100], "a.jpg"))

    found = read(body, store, sizes=sizes)

    assert found.fields == {"actions": ACTIONS}
    assert [(file.name, file.size_bytes) for file in found.files] == [("a.jpg", len(JPEG)), ("a_2.jpg", 100)]
    assert bytes(store.read("up/1/a.jpg")) == JPEG
    assert bytes(store.read("up/1/a_2.jpg")) == JPEG[:100]


def test_what_is_no_image_is_named_by_its_place_and_not_stored(store, tmp_path):
    body = form(
        part("files", b"<html><script>alert(1)</script>" + bytes(100), "a.jpg"),
        part("files", b"", "empty.png"),
        part("files", b"GIF89a" + bytes(100), "b.gif"),
        part("colour", b"red"),
        part("actions", b"\xff"),
    )

    found = read(body, store)

    assert [fault.place for fault in found.faults] == ["files[0]", "files[1]", "files[2]", "colour", "actions"]
    assert keys_in(store, tmp_path) == []


@pytest.mark.parametrize(
    ("body", "limits", "status"),
    [
        (form(*[part("files", JPEG[:80], "a.jpg")] * 5), {"max_files": 2}, 413),
        (form(part("files", JPEG, "a.jpg")), {"max_file_bytes": 1000}, 413),
        (form(part("actions", b"x" * 3000)), {"max_field_bytes": 2000}, 413),
        (part("files", JPEG, "a.jpg"), {}, 400),
        (part("files", JPEG, "a.jpg")[:-300], {}, 400),
        (b"nonsense" * 100, {}, 400),
        (b'--b\r\nContent-Disposition: form-data; name="' + b"x" * 9000, {}, 413),
        (b"--b\r\n" + b"X: y\r\n" * 20, {}, 413),
        (b"", {}, 400),
    ],
)
def test_a_broken_or_endless_form_is_refused_and_leaves_nothing(store, tmp_path, body, limits, status):
    with pytest.raises(Problem) as refused:
        read(body, store, **limits)

    assert refused.value.status == status
    assert [key for key in keys_in(store, tmp_path) if status == 400 or key.endswith("tmp")] == []


def test_a_store_that_fails_is_not_the_fault_of_the_form(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(Unavailable):
        read(form(part("files", JPEG * 100, "a.jpg")), LocalStore(tmp_path / "file"))


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("", 415),
        ("application/json", 415),
        ("multipart/form-data", 400),
        ('multipart/form-data; boundary=""', 400),
        (f"multipart/form-data; boundary={'x' * 300}", 400),
        ("multipart/form-data; boundary=é", 400),
    ],
)
def test_what_is_no_form_is_refused(content_type, status):
    with pytest.raises(Problem) as refused:
        boundary_of(content_type)

    assert refused.value.status == status


def document(found, rights=RIGHTS):
    """The document of a form without a fault."""
    body, faults = document_of(found, "id", "up/1/", OPERATIONS, NOW_S, rights=rights)
    assert faults == []
    return json.loads(body)


def faults_of(found, rights=RIGHTS):
    try:
        return document_of(found, "id", "up/1/", OPERATIONS, NOW_S, rights=rights)[1]
    except Invalid as invalid:
        return list(invalid.faults)


@pytest.mark.parametrize(
    ("actions", "places"),
    [
        (None, ["actions"]),
        ("{", ["actions"]),
        ("[]", ["actions"]),
        ('{"operations": []}', ["operations"]),
        (
            '{"operations": [["rotate", 1], ["resize", "x"]], "output": "gif"}',
            ["operations[0]", "operations[1]", "output"],
        ),
        ('{"operations": [["split", true]], "batch_id": "a", "source": "/etc"}', ["batch_id", "source"]),
        ('{"operations": [["split", true]], "\\ud800": 1}', None),
        ('{"operations": [["split", true]], "deadline": "2030-06-01T16:00:00Z"}', ["deadline"]),
        ('{"operations": [["split", true]], "deadline": "soon", "priority": "urgent"}', ["deadline", "priority"]),
    ],
)
def test_every_fault_of_the_actions_is_named(store, actions, places):
    deps = [part("actions", actions.encode())] if actions is not None else []
    found = read(form(*deps, part("files", JPEG, "a.jpg")), store)

    faults = faults_of(found)

    assert faults
    assert places is None or [fault.place for fault in faults] == places


def test_faults_of_fields_files_and_the_batch_come_together(store):
    actions = """{"operations": [["turn", 1]], "output": "gif", "source": "x", "deadline": "2001-01-01T00:00:00Z",
                 "priority": "high"}"""
    deps = [part("actions", actions.encode()), part("colour", b"red")]
    found = read(form(*deps, part("files", b"notes", "notes.txt"), part("files", JPEG, "a.jpg")), store)
    places = ["colour", "files[0]", "source", "operations[0]", "output", "priority", "deadline", "deadline"]
    assert [fault.place for fault in faults_of(found, Rights("default", {}, urgent=False))] == places
    # A batch that is valid by itself has the other faults beside it.
    right = read(form(part("actions", ACTIONS.encode()), part("colour", b"red"), part("files", JPEG, "a.jpg")), store)
    assert [fault.place for fault in faults_of(right)] == ["colour"]


def test_a_byte_order_mark_before_the_actions_is_ignored(store):
    actions = b'\xef\xbb\xbf{"operations": [["split", true]]}'
    found = read(form(part("actions", actions), part("files", JPEG, "a.jpg")), store)
    assert document(found)["operations"] == [["split", True]]


def test_a_good_form_becomes_a_batch_of_its_own_folder(store):
    found = read(form(part("actions", ACTIONS.encode()), part("files", JPEG, "a.jpg")), store)

    assert document(found) == {
        "operations": [["resize", "50%"]],
        "output": "jpg",
        "batch_id": "id",
        "source": "up/1/",
        "images": ["a.jpg"],
    }
