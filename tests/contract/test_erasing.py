"""Erasing on every store, and in both databases."""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from sqlalchemy import Connection, inspect, text
from tests.contract.test_state import administrator, new, running, state, url  # noqa: F401 - fixtures
from tests.contract.test_store import s3, store  # noqa: F401 - fixtures

from muniflow.errors import Fault
from muniflow.model.audit import AuditEntry
from muniflow.model.keys import upload_folder
from muniflow.model.report import image_entry, report_of_lines
from muniflow.store import Store
from muniflow.store.erasing import Erased, OutputEraser, erase_uploads
from muniflow_coordinator.state import Commit
from muniflow_coordinator.state.erasure_types import Erasure, Expired
from muniflow_coordinator.state.failure_types import NewLetter, NewRejection
from muniflow_coordinator.state.learned_types import ForecastRow
from muniflow_coordinator.state.sql import SqlState
from muniflow_coordinator.state.webhook_types import Attempt, NewWebhook

pytest_plugins = ["tests.support.postgres_fixtures"]
MARKER = "zwartepad"
ENTRY = AuditEntry(id="e", at=1.0, action="delete", batch="b", detail="erased")


def report(batch_id: str, *images: int) -> Iterator[bytes]:
    entries = [image_entry(n, f"{MARKER}-{n}.jpg", "done", [f"out/{MARKER}-{n}-0.jpg"]) for n in images]
    header = {"batch_id": batch_id, "totals": {"images": len(images), "done": len(images), "outputs": len(images)}}
    return report_of_lines(header, (json.dumps(entry).encode() for entry in entries))


def keys(place: Store, prefix: str = "") -> list[str]:
    return [blob.key for blob in place.list(prefix)]


@pytest.fixture
def eraser(store: Store) -> OutputEraser:  # noqa: F811
    """Of batch b, whose two images are done."""
    for n in (0, 1):
        store.write(f"out/{MARKER}-{n}-0.jpg", b"x")
    store.write(f"out/{MARKER}-1-3.png", b"of an earlier run with another route")
    store.write("out/other-0.jpg", b"of nobody")
    store.write("out/report.json", report("b", 0, 1))
    store.write("out/report-r2.json", report("b", 0, 1))
    made = OutputEraser(store, "b", "out", lambda: False)
    for n in (0, 1):
        made.add(f"{MARKER}-{n}")
    return made


def test_outputs_and_reports_are_erased_and_nothing_else(eraser: OutputEraser) -> None:
    eraser.erase(done := Erased())
    assert keys(eraser.store) == ["out/other-0.jpg"]
    assert (done.outputs, done.reports, done.kept) == (3, 2, 0)


def test_what_a_report_of_another_batch_names_stays(eraser: OutputEraser) -> None:
    eraser.store.write("out/report.json", report("local", 1))
    eraser.erase(done := Erased())
    assert keys(eraser.store) == ["out/other-0.jpg", "out/report.json", f"out/{MARKER}-1-0.jpg"]
    assert done.kept == 1


def test_of_one_image_nothing_is_left(eraser: OutputEraser) -> None:
    one = OutputEraser(eraser.store, "b", "out", lambda: False)
    one.add(f"{MARKER}-1")
    one.erase_image(1, Erased())
    assert keys(one.store) == ["out/other-0.jpg", "out/report-r2.json", "out/report.json", f"out/{MARKER}-0-0.jpg"]
    for key in ("out/report.json", "out/report-r2.json"):
        document = json.loads(bytes(one.store.read(key)))
        assert [image["source"] for image in document["images"]] == [f"{MARKER}-0.jpg", "erased-1"]
        assert document["totals"] == {"images": 2, "done": 1, "cancelled": 1, "outputs": 1}


def test_uploads_of_every_request_of_a_batch_are_erased(store: Store) -> None:  # noqa: F811
    for batch, attempt in (("b", ""), ("b", "1a"), ("bb", "1a"), ("b-2", "")):
        store.write(f"{upload_folder(batch, attempt=attempt)}a.jpg", b"x")
    assert erase_uploads(store, "b", lambda: False) == 2
    assert keys(store, ".muniflow/uploads/") == [".muniflow/uploads/b-2/a.jpg", ".muniflow/uploads/bb+1a/a.jpg"]


def rows_with(connection: Connection, marker: str) -> list[str]:
    tables = inspect(connection).get_table_names()
    found = ((table, str(row)) for table in tables for row in connection.execute(text(f'SELECT * FROM "{table}"')))  # noqa: S608
    return [f"{table}: {row}" for table, row in found if marker in row]


def test_the_ledger_names_an_erased_batch_in_the_audit_trail_alone(
    state: SqlState,  # noqa: F811
    administrator: Connection,  # noqa: F811
) -> None:
    running(state, 3, "b")
    running(state, 3, "other")
    state.commit([Commit(1, state="done", finished_at=5.0)])
    state.keep_forecasts([ForecastRow("b", 1.0, ended_at=2.0)], 10)
    state.keep_rejection(NewRejection("b", MARKER, None, 1.0, (Fault("x", MARKER),)))
    state.keep_rejection(NewRejection("b", "of another owner", None, 1.0, (), "zwolle"))
    for n, owner in enumerate(("default", "default", "zwolle")):  # one was given up
        body = MARKER.encode() if owner == "default" else b""
        state.keep_webhook(NewWebhook(f"e{n}", owner, "b", "https://h.example/", "h.example:443", body, 1.0))
    state.bury_webhook(Attempt(1, 2.0, "too_old", MARKER))
    bodies = [{"batch_id": "b", "name": MARKER}, {"settled": [{"batch": "b"}], "x": MARKER}, {"municipality": "b"}]
    state.keep_letters([NewLetter(str(n), "q", None, "r", 1.0, json.dumps(b).encode()) for n, b in enumerate(bodies)])
    erasure = Erasure("b", None, "default", "key", "::1", 7.0)
    state.keep_erasure(erasure)
    state.keep_erasure(erasure._replace(by="again"))
    assert state.erasures() == [erasure]
    assert not state.drop_images(1, 100)
    for _ in range(2):
        state.end_erasure(erasure, ENTRY)
    assert rows_with(administrator, MARKER) == []
    assert sorted(row.split(":")[0] for row in rows_with(administrator, "'b'")) == ["audit", "rejections", "webhooks"]
    assert [webhook.owner for webhook in state.webhooks()] == ["zwolle"]
    assert state.erasures() == []
    assert [letter.body for letter in state.letters()] == [b'{"municipality": "b"}']
    assert len(list(state.every_image(2))) == 3


def test_an_erased_image_keeps_its_number_alone(state: SqlState) -> None:  # noqa: F811
    number = running(state, 2)
    state.commit([Commit(number, state="done")])
    for _ in range(2):
        state.erase_image(number, 1, "erased-1")
    (_, erased) = state.images(number)
    assert (erased.stem, erased.suffix, erased.state) == ("erased-1", "", "cancelled")


def test_batches_that_were_kept_long_enough(state: SqlState) -> None:  # noqa: F811
    day = 86_400.0
    owned = {"a": ("utrecht", None), "b": ("zwolle", 2.0), "c": ("zwolle", None), "d": ("utrecht", 9.0)}
    for batch_id, (owner, days) in owned.items():
        batch = new(batch_id)
        state.insert_batch(replace(batch, owner=owner, keep_days=days))
    state.commit([Commit(n, state="done", finished_at=0.0) for n in (1, 2, 3)])
    state.commit([Commit(4, state="running", finished_at=None)])
    found = state.expired(2.5 * day, {"utrecht": 1.0}, 10)
    assert found == [Expired("a", "utrecht", 1.0), Expired("b", "zwolle", 2.0)]
    assert state.expired(0.5 * day, {"utrecht": 1.0}, 10) == []
