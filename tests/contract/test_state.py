"""What every store of state promises, on SQLite and on PostgreSQL."""

import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, NullPool, create_engine, event, text, update
from tests.support.postgres import PrivatePostgres

from muniflow.errors import Invalid, Rejected, Unavailable
from muniflow.model.ledger import Leaf, SettledImage
from muniflow.model.lineage import Lineage
from muniflow_coordinator.leadership.types import Deposed
from muniflow_coordinator.state import Commit, Counts, ImageRow, NewBatch
from muniflow_coordinator.state.opening import open_state, parse_database_url
from muniflow_coordinator.state.sql import SqlState
from muniflow_coordinator.state.tables import SCHEMA_VERSION, batches, schema

pytest_plugins = ["tests.support.postgres_fixtures"]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'folder' / 'state.sqlite'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def state(url: str) -> Iterator[SqlState]:
    opened = open_state(url)
    opened.take_over("a test")
    yield opened
    opened.close()


@pytest.fixture
def administrator(url: str) -> Iterator[Connection]:
    """Somebody with a shell on the database."""
    engine = create_engine(parse_database_url(url), poolclass=NullPool)
    with engine.connect() as connection:
        yield connection


def new(batch_id: str = "b", destination: str | None = None, municipality: str = "Utrecht") -> NewBatch:
    return NewBatch(batch_id, "f" * 64, '{"x": 1}', municipality, 3, destination or batch_id, 12.5)


def running(state: SqlState, images: int = 5, batch_id: str = "b") -> int:
    number = state.insert_batch(new(batch_id))
    state.insert_images(number, [ImageRow(n, f"north/{n}", ".jpg") for n in range(images)])
    state.commit([Commit(number, counts=Counts(images), state="running")])
    return number


def states_of(state: SqlState, number: int) -> list[str]:
    return [image.state for image in state.every_image(number)]


def done(image: int, *, run: int = 0, had_leaves: bool = False) -> SettledImage:
    return SettledImage(image, run, "done", (), had_leaves)


def failed(image: int, *, run: int = 0) -> SettledImage:
    return SettledImage(image, run, "failed", ("broken", "very “broken”"), had_leaves=False)


def test_a_batch_is_found_as_it_was_inserted(state: SqlState) -> None:
    number = state.insert_batch(new())
    row = state.find("b")
    assert row is not None
    assert (row.number, row.id, row.spec, row.state, row.weight, row.counts) == (
        number, "b", '{"x": 1}', "intake", 3, Counts(),
    )  # fmt: skip
    assert (row.submitted_at, row.finished_at, row.report, row.cancelling) == (12.5, None, None, False)
    assert state.find("c") is None


def test_what_was_committed_survives_a_restart(state: SqlState, url: str) -> None:
    number = running(state)
    state.commit([Commit(number, settled=[done(1), failed(2)], counts=Counts(5, 1, 1))])
    state.close()
    again = open_state(url)
    assert states_of(again, number) == ["pending", "done", "failed", "pending", "pending"]
    assert next(again.unfinished().__iter__()).counts == Counts(5, 1, 1)
    assert again.images(number, state="failed")[0].reasons == ("broken", "very “broken”")
    again.close()


def test_a_commit_twice_changes_nothing_more(state: SqlState) -> None:
    number = running(state)
    leaf = Leaf(0, 0, ((1, 2), (0, 3)), "broken", 2)
    change = Commit(number, leaves=[leaf], settled=[done(1)], counts=Counts(5, 1))
    state.commit([change])
    state.commit([change])
    assert states_of(state, number).count("done") == 1
    assert state.leaves(number) == [leaf]
    assert state.opened(number, [0, 99]) == [(ImageRow(0, "north/0", ".jpg"), [leaf])]


def test_only_a_pending_image_of_this_run_is_settled(state: SqlState) -> None:
    number = running(state)
    state.commit([Commit(number, settled=[done(0), failed(1), done(2, run=1)])])
    state.commit([Commit(number, settled=[failed(0), done(1)])])
    assert states_of(state, number) == ["done", "failed", "pending", "pending", "pending"]


def test_a_batch_with_its_images_is_accepted_in_one_transaction(state: SqlState) -> None:
    images = [ImageRow(n, f"north/{n}", ".jpg") for n in range(3)]
    number = state.insert_batch(replace(new(), document=b"{}"), images)
    row = state.find("b")
    assert row is not None
    assert (row.state, row.counts) == ("running", Counts(3))
    assert list(state.every_image(number)) == images
    assert state.document(number) is None


def test_accepting_keeps_the_rest_of_the_images_with_it_and_may_be_repeated(state: SqlState) -> None:
    number = state.insert_batch(new())
    for _ in range(2):
        state.accept_batch(number, 2, [ImageRow(0, "a", ".jpg"), ImageRow(1, "b", "")])
    assert [image.stem for image in state.every_image(number)] == ["a", "b"]
    assert state.find("b").counts == Counts(2)  # type: ignore[union-attr]


def test_ranges_of_done_images_settle_exactly_those_images(state: SqlState) -> None:
    """In the order in which workers tell of them, with gaps, other runs and failures between."""
    number = running(state, 12)
    state.commit([Commit(number, settled=[failed(4)], counts=Counts(12, 0, 1))])
    state.reopen_images(number, range(12))
    settled = [done(7), done(1), done(0), done(3), done(4, run=1), done(5), failed(6), done(9), done(10)]
    state.commit([Commit(number, settled=settled)])
    expected = {0: "done", 1: "done", 3: "done", 4: "done", 5: "done", 6: "failed", 7: "done", 9: "done", 10: "done"}
    assert states_of(state, number) == [expected.get(n, "pending") for n in range(12)]


@pytest.mark.parametrize("lineage", [(), ((0, 2),), ((3, 4), (63, 64))])
def test_the_leaves_of_a_settled_image_are_removed(state: SqlState, lineage: Lineage) -> None:
    number = running(state)
    leaves = [Leaf(0, 0, lineage, None, 0), Leaf(1, 0, lineage, None, 0)]
    state.commit([Commit(number, leaves=leaves)])
    state.commit([Commit(number, settled=[done(0, had_leaves=True)])])
    assert state.leaves(number) == leaves[1:]


def test_cancelling_spares_what_is_in_flight_or_settled(state: SqlState) -> None:
    number = running(state, 6)
    state.commit([Commit(number, settled=[done(1)], leaves=[Leaf(2, 0, ((0, 2),), None, 0)], counts=Counts(6, 1))])
    counts = state.cancel_images(number, range(5), {0})
    assert counts == Counts(6, 1, 0, 3)
    assert states_of(state, number) == ["pending", "done", "cancelled", "cancelled", "cancelled", "pending"]
    assert state.leaves(number) == []
    assert state.unfinished()[0].counts == counts
    assert state.cancel_images(number, range(5), {0}) == counts


def test_reopening_takes_failed_images_only_and_raises_their_run(state: SqlState) -> None:
    number = running(state, 4)
    state.commit(
        [Commit(number, settled=[done(0), failed(1), failed(3)], counts=Counts(4, 1, 2, 1), state="cancelled",
                report="r", finished_at=3.0, cancelling=True)]
    )  # fmt: skip
    assert state.unfinished() == []
    counts = state.reopen_images(number, range(3))
    assert counts == Counts(4, 1, 1, 1)
    (row,) = state.unfinished()
    assert (row.state, row.cancelling, row.report, row.finished_at) == ("running", False, None, None)
    assert [(image.state, image.run, image.reasons) for image in state.images(number, after=0, limit=1)] == [
        ("pending", 1, ())
    ]
    assert state.reopen_images(number, range(3)) == counts


def test_inserting_images_again_keeps_the_first(state: SqlState) -> None:
    number = running(state, 3)
    state.commit([Commit(number, settled=[done(1)])])
    state.insert_images(number, [ImageRow(n, "other", ".png") for n in range(4)])
    assert [image.stem for image in state.every_image(number)] == ["north/0", "north/1", "north/2", "other"]
    assert states_of(state, number)[1] == "done"


def test_dropping_leaves_nothing(state: SqlState) -> None:
    number, other = running(state), running(state, batch_id="other")
    state.commit([Commit(number, leaves=[Leaf(0, 0, ((0, 2),), None, 0)])])
    assert state.drop_images(number, 2)
    assert len(states_of(state, number)) == 3
    assert not state.drop_images(number, 3)
    assert not state.drop_images(number, 3)
    assert state.leaves(number) == []
    state.drop_batch(number)
    assert states_of(state, number) == []
    assert state.find("b") is None
    assert len(states_of(state, other)) == 5
    assert state.insert_batch(new()) > other, "a number is never used twice"


@pytest.mark.parametrize(
    ("taken", "wanted", "conflict"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a", True),
        ("a/b", "a/b/c", True),
        ("a/b", "a/bc", False),
        ("a/b", "a/c", False),
        ("a%", "a%/x", True),
        ("a_/x", "a_", True),
        ("ab/x", "a_", False),
        ("A/b", "a", False),
    ],
)
def test_destinations(state: SqlState, taken: str, wanted: str, *, conflict: bool) -> None:
    state.insert_batch(new("first", taken))
    assert state.owner_of(wanted) == ("first" if conflict else None)


def test_pages_of_batches_come_newest_first(state: SqlState) -> None:
    for number in range(5):
        state.insert_batch(new(f"b{number}", municipality="Utrecht" if number % 2 else "Gouda"))
    first = state.batches(limit=2)
    assert [row.id for row in first] == ["b4", "b3"]
    assert [row.id for row in state.batches(after=first[-1].number)] == ["b2", "b1", "b0"]
    assert [row.id for row in state.batches(municipality="Gouda")] == ["b4", "b2", "b0"]
    assert state.batches(state="done") == []
    assert state.states() == {"intake": 5}


def test_pages_of_images_come_by_number(state: SqlState) -> None:
    number = running(state, 10)
    state.commit([Commit(number, settled=[failed(n) for n in range(0, 10, 3)])])
    assert [image.image for image in state.images(number, state="failed")] == [0, 3, 6, 9]
    assert [image.image for image in state.images(number, state="pending", after=4, limit=2)] == [5, 7]
    assert [image.image for image in state.images(number, state="done")] == []


def test_stems_that_two_images_share(state: SqlState) -> None:
    number = state.insert_batch(new())
    keys = [("a", ".jpg"), ("b", ".jpg"), ("a", ".png"), ("c", ""), ("b", ".tif"), ("a", ".webp")]
    state.insert_images(number, [ImageRow(n, stem, suffix) for n, (stem, suffix) in enumerate(keys)])
    pairs = state.doubled_stems(number, 10)
    assert [(first.image, second.image) for first, second in pairs] == [(0, 2), (1, 4)]
    assert len(state.doubled_stems(number, 1)) == 1


def test_a_row_that_another_one_holds_is_unavailable_and_nothing_happened(
    state: SqlState, administrator: Connection
) -> None:
    number = running(state)
    administrator.execute(update(batches).values(weight=9))
    with pytest.raises(Unavailable, match=r"state database is unavailable: (database is locked|canceling statement)"):
        state.commit([Commit(number, settled=[done(0)], counts=Counts(5, 1))])
    assert states_of(state, number)[0] == "pending", "readers go on meanwhile"
    administrator.rollback()
    state.commit([Commit(number, settled=[done(0)], counts=Counts(5, 1))])
    assert states_of(state, number)[0] == "done"


def test_nobody_writes_before_taking_over_or_after_resigning(state: SqlState, url: str) -> None:
    number = running(state)
    state.resign()
    other = open_state(url)
    for never in (state, other):
        assert not never.mine()
        with pytest.raises(Deposed):
            never.commit([Commit(number, settled=[done(0)])])
    assert states_of(other, number)[0] == "pending", "but everybody reads"
    other.close()


def test_who_was_followed_writes_nothing_more(state: SqlState, url: str) -> None:
    number = running(state)
    other = open_state(url)
    assert other.take_over("another one") > 1
    changes: dict[str, Callable[[], object]] = {
        "commit": lambda: state.commit([Commit(number, settled=[done(0)])]),
        "insert_batch": lambda: state.insert_batch(new("c")),
        "insert_images": lambda: state.insert_images(number, [ImageRow(9, "x", "")]),
        "accept_batch": lambda: state.accept_batch(number, 3),
        "cancel_images": lambda: state.cancel_images(number, range(5), ()),
        "reopen_images": lambda: state.reopen_images(number, range(5)),
        "drop_images": lambda: state.drop_images(number, 5),
        "drop_batch": lambda: state.drop_batch(number),
    }
    for change in changes.values():
        with pytest.raises(Deposed):
            change()
    assert (other.mine(), state.mine()) == (True, False)
    assert states_of(other, number) == ["pending"] * 5
    other.commit([Commit(number, settled=[done(0)])])
    assert state.take_over("again") > 2
    state.commit([Commit(number, settled=[done(1)])])
    assert states_of(state, number)[:3] == ["done", "done", "pending"]
    other.close()


def test_connections_that_were_cut_are_made_again(postgres_url: str, postgres: PrivatePostgres) -> None:
    state = open_state(postgres_url)
    state.take_over("a test")
    number = running(state)
    change = [Commit(number, settled=[done(0)], counts=Counts(5, 1))]
    postgres.stop(signal.SIGQUIT)
    with pytest.raises(Unavailable, match="state database is unavailable"):
        state.commit(change)
    with pytest.raises(Unavailable):
        state.find("b")
    postgres.start()
    for attempt in range(2):
        try:
            state.commit(change)
        except Unavailable:
            assert attempt == 0, "at most one call finds out that its connection is dead"
    assert states_of(state, number)[0] == "done"
    assert state.mine(), "the same epoch: nobody took over meanwhile"
    state.close()


def test_a_transaction_that_is_frozen_does_not_keep_its_successor_out(postgres_url: str) -> None:
    """As a process that is stopped in the middle of a commit: PostgreSQL ends its transaction."""
    state = open_state(postgres_url)
    state.take_over("frozen")
    other = open_state(postgres_url)

    def take_over() -> bool:
        try:
            return other.take_over("the successor") > 2
        except Unavailable:
            return False

    def freeze() -> None:
        with state._write() as connection:
            begun_s = time.monotonic()
            while not take_over():
                assert time.monotonic() - begun_s < 12
            connection.execute(update(batches).values(weight=1))

    with pytest.raises(Unavailable, match="idle-in-transaction"):
        freeze()
    with pytest.raises((Deposed, Unavailable)):
        state.commit([])
    state.close()
    other.close()


def test_a_document_is_kept_until_its_batch_is_accepted(state: SqlState) -> None:
    number = state.insert_batch(replace(new(), document=b"\x00{}"))
    assert state.document(number) == b"\x00{}"
    state.accept_batch(number, 3)
    assert state.document(number) is None
    (row,) = state.unfinished()
    assert (row.state, row.counts) == ("running", Counts(3))


def test_a_character_that_a_database_does_not_take_harms_nothing(state: SqlState) -> None:
    number = state.insert_batch(new(municipality="Ut\0recht"))
    state.insert_images(number, [ImageRow(0, "a", "")])
    state.commit([Commit(number, leaves=[Leaf(0, 0, ((0, 2),), "bro\0ken \U0001f600", 1)])])
    state.commit([Commit(number, settled=[SettledImage(0, 0, "failed", ("a\0b",), had_leaves=False)])])
    assert state.leaves(number)[0].reason == "bro\ufffdken \U0001f600"
    assert state.images(number)[0].reasons == ("a\0b",)
    assert [row.id for row in state.batches(municipality="Ut\0recht")] == ["b"]
    assert state.find("b\0") is None
    assert state.images(number, state="\0") == []
    assert state.batches(state="\0") == []


def test_processes_that_start_together_make_one_schema(url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(open_state, [url] * 4))
    assert [state.take_over("x") for state in opened] == [2, 3, 4, 5]
    for state in opened:
        state.close()


def test_a_schema_of_an_older_version_is_upgraded_and_deposes_who_works_on_it(
    state: SqlState, url: str, administrator: Connection
) -> None:
    number = running(state)
    administrator.execute(update(schema).values(version=1))
    administrator.commit()
    other = open_state(url)
    with pytest.raises(Deposed):
        state.commit([Commit(number, settled=[done(0)])])
    other.take_over("the newer one")
    assert states_of(other, number) == ["pending"] * 5
    other.close()


def test_a_database_of_a_newer_version_is_refused(state: SqlState, url: str, administrator: Connection) -> None:
    administrator.execute(update(schema).values(version=SCHEMA_VERSION + 1))
    administrator.commit()
    with pytest.raises(Rejected, match=f"schema {SCHEMA_VERSION + 1} and this muniflow knows up to {SCHEMA_VERSION}"):
        open_state(url)
    with pytest.raises(Rejected, match="this muniflow knows up to"):
        state.take_over("who waited meanwhile")


def test_failed_images_are_found_without_looking_at_the_done_ones(state: SqlState, administrator: Connection) -> None:
    number = state.insert_batch(new())
    state.insert_images(number, [ImageRow(n, f"{n}", ".jpg") for n in range(3000)])
    state.commit([Commit(number, settled=[done(n) for n in range(2990)])])
    seen: list[str] = []

    def explain(_connection: object, cursor: Any, statement: str, parameters: Any, *_: object) -> None:
        if "images.stem" in statement and not seen:
            sqlite = administrator.dialect.name == "sqlite"
            cursor.execute(("EXPLAIN QUERY PLAN " if sqlite else "EXPLAIN ") + statement, parameters)
            seen.extend(str(row) for row in cursor.fetchall())

    if administrator.dialect.name == "postgresql":
        administrator.execute(text("analyze"))
        administrator.commit()
    event.listen(state._readers, "before_cursor_execute", explain)
    assert len(state.images(number, state="pending", limit=100)) == 10
    assert "images_not_done" in "".join(seen)


@pytest.mark.parametrize(
    "wrong", ["", "state.sqlite", "mysql://host/db", "sqlite://", "sqlite:///:memory:", "postgresql+pg8000://h/d"]
)
def test_a_url_that_is_no_use_is_refused_by_its_variable(wrong: str) -> None:
    with pytest.raises(Invalid, match="MUNIFLOW_DATABASE_URL"):
        open_state(wrong)


def test_a_commit_survives_a_power_failure(state: SqlState) -> None:
    with state._writer.connect() as connection:
        if connection.dialect.name == "sqlite":
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
        else:
            assert connection.exec_driver_sql("show synchronous_commit").scalar() == "on"
            assert connection.exec_driver_sql("show fsync").scalar() == "on"
