"""What every store of state promises, on SQLite and on PostgreSQL."""

import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, NullPool, create_engine, event, select, text, update
from tests.support.postgres import PrivatePostgres, find_postgres
from tests.support.waiting import LIMIT_S

from muniflow.errors import Fault, Invalid, Rejected, Unavailable
from muniflow.forecast.grade import Forecast
from muniflow.model.audit import AuditEntry
from muniflow.model.budget import Amounts
from muniflow.model.checksums import ImageSums
from muniflow.model.ledger import Leaf, SettledImage
from muniflow.model.lineage import Lineage
from muniflow.runtime.failpoints import LEDGER_COMMITS, Failpoints
from muniflow_coordinator.errors import Deposed
from muniflow_coordinator.state import Commit, Counts, ImageRow, NewBatch
from muniflow_coordinator.state.charge_types import Charge
from muniflow_coordinator.state.failure_types import ANY, Chosen, LetterLimits, NewLetter, NewRejection
from muniflow_coordinator.state.learned_types import ForecastRow, ServiceTimeRow
from muniflow_coordinator.state.opening import open_state, parse_database_url
from muniflow_coordinator.state.sql import SqlState
from muniflow_coordinator.state.tables import ADDED, SCHEMA_VERSION, batches, forecasts, schema, service_times
from muniflow_coordinator.state.webhook_types import Attempt, NewWebhook

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
        state.accept_batch(number, Counts(2), [ImageRow(0, "a", ".jpg"), ImageRow(1, "b", "")])
    assert [image.stem for image in state.every_image(number)] == ["a", "b"]
    assert state.find("b").counts == Counts(2)  # type: ignore[union-attr]


def test_an_owner_is_charged_once_with_the_batch_that_is_accepted(state: SqlState, url: str) -> None:
    first, second = state.insert_batch(new()), state.insert_batch(replace(new("c"), destination="c"))
    for number in (first, first, second):
        state.accept_batch(number, Counts(2), charge=Charge("utrecht", 20_000, Amounts(2, 8, 1.5, 0.25, 3)))
    assert state.spent("utrecht", 20_000) == Amounts(4, 16, 3, 0.5, 6)
    assert state.spent("utrecht", 20_001) == state.spent("delft", 20_000) == Amounts()
    state.drop_batch(first)
    again = open_state(url)
    assert again.spent("utrecht", 20_000).images == 4, "what was done stays charged"
    again.close()
    third = state.insert_batch(replace(new("d"), destination="d"))
    state.accept_batch(third, Counts(1), charge=Charge("utrecht", 20_100, Amounts(1)))
    assert state.spent("utrecht", 20_000) == Amounts(), "old days are forgotten"


def test_images_that_are_kept_are_done_from_the_start_and_a_batch_of_them_is_about_to_end(state: SqlState) -> None:
    number = state.insert_batch(new())
    sums = ImageSums("1" * 64, ("2" * 64,))
    kept = ImageRow(0, "a", ".jpg", "done", 7, sums=sums, version="3-4", metadata=("place", "time"))
    nothing = ImageRow(1, "b", ".jpg", "done", version="5-6", metadata=())
    state.accept_batch(number, Counts(2, done=2), [kept, nothing])
    assert list(state.every_image(number)) == [kept, nothing]
    row = state.find("b")
    assert row is not None
    assert (row.state, row.counts.pending, row.finished_at is None) == ("finishing", 0, False)


def test_what_outputs_keep_of_metadata_is_settled_with_each_image(state: SqlState) -> None:
    number = running(state, 5)
    words = [("place",), ("place",), (), None, ("time",)]
    settled = [replace(done(n), metadata=metadata) for n, metadata in enumerate(words)]
    state.commit([Commit(number, settled=settled)])
    assert [image.metadata for image in state.images(number)] == words


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


def test_checksums_are_kept_with_done_images_and_parts(state: SqlState) -> None:
    number = running(state)
    sums = ImageSums("0" * 64, ("a" * 64, "b" * 64))
    part = Leaf(1, 0, ((0, 2),), None, 0, None, ImageSums("1" * 64, ("c" * 64,)))
    for _ in range(2):
        state.commit([Commit(number, leaves=[part], settled=[replace(done(0), sums=sums), done(2)])])
    assert state.leaves(number) == [part]
    assert [image.sums for image in state.every_image(number)] == [sums, None, None, None, None]
    assert not state.drop_images(number, 9)
    state.drop_batch(number)


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


def test_beginning_again_raises_the_run_of_pending_images_once_and_drops_their_leaves(state: SqlState) -> None:
    number = running(state, 4)
    leaves = [Leaf(image, 0, ((0, 2),), None, 0) for image in (1, 2)]
    state.commit([Commit(number, leaves=leaves, settled=[done(0)], counts=Counts(4, 1))])
    for _ in range(2):  # the second time as after a commit whose answer was lost
        state.restart_images(number, {0: 0, 1: 0, 3: 5})
    assert [(row.state, row.run) for row in state.images(number, after=-1, limit=9)] == [
        ("done", 0), ("pending", 1), ("pending", 0), ("pending", 0),
    ]  # fmt: skip
    assert state.leaves(number) == [leaves[1]]
    later = Leaf(1, 1, ((0, 2),), None, 0)
    state.commit([Commit(number, leaves=[later])])
    state.restart_images(number, {1: 0})
    assert later in state.leaves(number), "a leaf of the run that it is in by now"


def test_what_was_in_flight_when_a_batch_was_cancelled_is_kept(state: SqlState) -> None:
    number, other = running(state, 4), running(state, 2, "c")
    for batch, total in ((number, 4), (other, 2)):
        state.accept_batch(batch, Counts(total))
        assert state.kept_images(batch) == []
    for _ in range(2):  # the second time as after a commit whose answer was lost
        state.commit([Commit(number, cancelling=True, in_flight={2, 0})])
    assert (state.kept_images(number), state.kept_images(other)) == ([0, 2], [])
    state.commit([Commit(number, cancelling=True, in_flight=())])
    assert state.kept_images(number) == []


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
        "accept_batch": lambda: state.accept_batch(number, Counts(3)),
        "cancel_images": lambda: state.cancel_images(number, range(5), ()),
        "reopen_images": lambda: state.reopen_images(number, range(5)),
        "restart_images": lambda: state.restart_images(number, {0: 0}),
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
        with state._write(None) as connection:
            begun_s = time.monotonic()
            while not take_over():
                assert time.monotonic() - begun_s < LIMIT_S
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
    state.accept_batch(number, Counts(3))
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


def test_who_opens_a_new_file_waits_for_another_that_does_so(tmp_path: Path) -> None:
    """Where one has begun to write before the log is on, SQLite refuses to turn it on without waiting."""
    path = tmp_path / "new.sqlite"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(1) as pool:
        opened = pool.submit(open_state, f"sqlite:///{path}")
        assert wait([opened], 0.2).not_done
        other.execute("COMMIT")
        opened.result(10).close()
    other.close()


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


def observed(key: str, updated_at: float, sums: str = "[1.0]") -> ServiceTimeRow:
    return ServiceTimeRow(key, '{"op": "“resize”"}', sums, updated_at)


def test_service_times_are_replaced_by_their_key_and_the_newest_are_kept(state: SqlState, url: str) -> None:
    assert state.service_times() == []
    state.keep_service_times([], 2)
    state.keep_service_times([observed("a", 1.5), observed("b", 2.5)], 2)
    state.keep_service_times([observed("a", 3.5, "[2.0]")], 2)
    assert state.service_times() == [observed("a", 3.5, "[2.0]"), observed("b", 2.5)]
    state.keep_service_times([observed("c", 4.5)], 2)
    again = open_state(url)
    assert again.service_times() == [observed("c", 4.5), observed("a", 3.5, "[2.0]")]
    again.close()


def test_who_was_followed_keeps_no_service_times(state: SqlState, url: str) -> None:
    other = open_state(url)
    other.take_over("another one")
    with pytest.raises(Deposed):
        state.keep_service_times([observed("a", 1.5)], 2)
    assert other.service_times() == []
    other.close()


def test_a_table_that_an_earlier_build_may_ignore_is_added_without_a_new_version(
    state: SqlState, url: str, administrator: Connection
) -> None:
    """An earlier build starts on the database of this one, and the one that leads goes on."""
    number = running(state)
    service_times.drop(administrator)
    forecasts.drop(administrator)
    administrator.commit()
    other = open_state(url)
    state.commit([Commit(number, settled=[done(0)])])
    assert other.service_times() == []
    assert other.forecasts() == []
    assert administrator.execute(select(schema.c.version)).scalar_one() == 2
    other.close()


def test_columns_that_an_earlier_build_may_ignore_are_added_without_a_new_version(
    state: SqlState, url: str, administrator: Connection
) -> None:
    """A failure that an earlier build has recorded has the code `unknown`."""
    number = running(state)
    state.commit([Commit(number, settled=[replace(failed(1), code="crashed", operation="blur")])])
    for index in ("images_failed", "batches_by_owner", "rejections_by_owner"):
        administrator.exec_driver_sql(f"DROP INDEX {index}")
    for column in ADDED:
        administrator.exec_driver_sql(f"ALTER TABLE {column.table.name} DROP COLUMN {column.name}")
    administrator.commit()
    other = open_state(url)
    assert [image.code for image in other.images(number)] == [None, "unknown", None, None, None]
    state.commit([Commit(number, settled=[replace(failed(2), code="crashed", operation="blur")])])
    assert [image.code for image in other.images(number, state="failed")] == ["unknown", "crashed"]
    assert administrator.execute(select(schema.c.version)).scalar_one() == SCHEMA_VERSION
    state.reopen_images(number, range(5))
    assert {image.code for image in other.images(number)} == {None}
    other.close()


FORECAST = Forecast(10.0, 11.0, 15.0)


def test_forecasts_are_replaced_and_of_the_ended_ones_the_newest_are_kept(state: SqlState, url: str) -> None:
    assert state.forecasts() == []
    running_one = ForecastRow("r", 1.0)
    ends = {"a": 5.0, "b": 9.0, "c": 7.0}
    ended = [ForecastRow(name, 1.0, FORECAST, 12.5, ended_at) for name, ended_at in ends.items()]
    state.keep_forecasts([running_one, ForecastRow("b", 1.0, FORECAST)], 2)
    state.keep_forecasts(ended, 2)
    again = open_state(url)
    assert again.forecasts() == [running_one, ended[1], ended[2]]
    assert again.forecasts(limit=1) == [running_one]
    again.close()


def test_a_role_that_may_not_create_tables_goes_on_without_grading(
    request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    url = str(request.getfixturevalue("postgres_url"))
    opened = open_state(url)
    opened.take_over("the owner")
    number = running(opened)
    opened.close()
    engine = create_engine(parse_database_url(url), poolclass=NullPool)
    with engine.begin() as connection:
        forecasts.drop(connection)
        own = connection.execute(text("SELECT current_schema()")).scalar_one()
        for statement in (
            "CREATE ROLE poor LOGIN",
            f"GRANT USAGE ON SCHEMA {own} TO poor",
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {own} TO poor",
        ):
            connection.execute(text(statement))
    try:
        poor = open_state(parse_database_url(url).set(username="poor").render_as_string(hide_password=False))
        assert "cannot create the table forecasts" in caplog.text
        assert "GRANT CREATE" in caplog.text
        poor.take_over("a poor role")
        poor.commit([Commit(number, settled=[done(0)])])
        with pytest.raises(Unavailable):
            poor.keep_forecasts([ForecastRow("b", 1.0)], 2)
        with pytest.raises(Unavailable):
            poor.forecasts()
        poor.commit([Commit(number, settled=[done(1)])])
        poor.close()
    finally:
        with engine.begin() as connection:
            connection.execute(text("DROP OWNED BY poor"))
            connection.execute(text("DROP ROLE poor"))


def plan_of(state: SqlState, administrator: Connection, part: str, ask: Callable[[], object]) -> str:
    """How the database answers the first query of `ask` that has this part."""
    seen: list[str] = []

    def explain(_connection: object, cursor: Any, statement: str, parameters: Any, *_: object) -> None:
        if part in statement and not seen:
            sqlite = administrator.dialect.name == "sqlite"
            cursor.execute(("EXPLAIN QUERY PLAN " if sqlite else "EXPLAIN ") + statement, parameters)
            seen.extend(str(row) for row in cursor.fetchall())

    if administrator.dialect.name == "postgresql":
        administrator.execute(text("analyze"))
        administrator.commit()
    event.listen(state._readers, "before_cursor_execute", explain)
    ask()
    return "".join(seen)


def test_failed_images_are_found_without_looking_at_the_done_ones(state: SqlState, administrator: Connection) -> None:
    number = state.insert_batch(new())
    state.insert_images(number, [ImageRow(n, f"{n}", ".jpg") for n in range(3000)])
    state.commit([Commit(number, settled=[done(n) for n in range(2990)])])
    found: list[ImageRow] = []
    plan = plan_of(state, administrator, "images.stem", lambda: found.extend(state.images(number, state="pending")))
    assert len(found) == 10
    assert "images_not_done" in plan


def test_a_taken_destination_is_found_without_looking_at_all_batches(
    state: SqlState, administrator: Connection
) -> None:
    for number in range(600):
        state.insert_batch(new(f"b{number}", f"out/{number}/x"))
    plan = plan_of(state, administrator, "destination", lambda: state.owner_of("out/7"))
    # PostgreSQL decides by the size of the table, and reads one of this size at once.
    assert "SCAN" not in plan or administrator.dialect.name == "postgresql"


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


def test_each_named_commit_passes_its_failpoints_before_and_after_it_is_durable(tmp_path: Path) -> None:
    hits: list[str] = []
    armed = {
        f"ledger.{when}_{commit}": partial(hits.append, f"{when} {commit}")
        for commit in LEDGER_COMMITS
        for when in ("before", "after")
    }
    state = open_state(f"sqlite:///{tmp_path / 'state.sqlite'}", failpoints=Failpoints(armed))
    state.take_over("a test")
    number = running(state)
    state.accept_batch(number, Counts(5))
    state.commit([Commit(number, settled=[done(0)], counts=Counts(5, 1))])
    state.commit([Commit(number, cancelling=True)])
    state.cancel_images(number, range(5), [])
    state.reopen_images(number, range(5))
    state.restart_images(number, {1: 0})
    state.commit([Commit(number, state="finishing", finished_at=1.0)])
    state.drop_images(number, 9)
    state.drop_batch(number)
    state.close()
    named = (
        "take_over", "insert_batch", "insert_images", "accept_batch", "mark_cancelling", "cancel_images",
        "reopen_images", "restart_images", "complete", "drop_images", "drop_batch",
    )  # fmt: skip
    assert hits == [f"{when} {commit}" for commit in named for when in ("before", "after")]
    assert set(named) == set(LEDGER_COMMITS)


def test_failures_are_listed_counted_dropped_and_reopened_as_chosen(state: SqlState) -> None:
    for batch, codes in (("b", ("crashed", "image_damaged", "crashed")), ("c", ("crashed",))):
        number = running(state, 4, batch)
        settled = [replace(failed(n), code=code, operation="blur") for n, code in enumerate(codes)]
        state.commit([Commit(number, settled=settled, counts=Counts(4, 0, len(codes)))])
    first, last = (state.failure_groups(ANY)[place].batch_id for place in (0, -1))
    assert (first, last) == ("b", "c")
    assert [group[1:] for group in state.failure_groups(Chosen(1))] == [
        ("crashed", "blur", 2),
        ("image_damaged", "blur", 1),
    ]
    page = state.failures(ANY, limit=3)
    assert [row.place.image for row in page] == [0, 2, 1]
    assert [(row.batch_id, row.reasons) for row in state.failures(ANY, after=page[-1].place)] == [
        ("c", ("broken", "very “broken”"))
    ]
    assert [row.place.image for row in state.failures(Chosen(1, "blur", "crashed", 2))] == [2]
    assert state.failures(Chosen(operation="resize")) == []
    assert state.drop_failures(1, range(2), Chosen(reason_code="crashed")) == 1
    assert [row.place.image for row in state.failures(Chosen(1))] == [2, 1]
    assert state.reopen_images(1, range(4), Chosen(reason_code="crashed")).failed == 2
    assert [image.state for image in state.images(1)] == ["failed", "failed", "pending", "pending"]


def test_a_letter_is_kept_once_until_it_is_dropped(state: SqlState) -> None:
    letter = NewLetter("d" * 64, "muniflow.batches.dead", None, "no\0 text", 12.5, b"\0\xff")
    state.keep_letters([letter, letter])
    state.keep_letters([letter, letter._replace(digest="e" * 64, batch="b")])
    state.keep_letters([])
    one, two = state.letters()
    assert (one.queue, one.batch, one.at, one.body) == ("muniflow.batches.dead", None, 12.5, b"\0\xff")
    assert state.letter(two.number) == two
    assert state.letters(after=one.number) == [two]
    assert state.letters(queue="other") == []
    state.drop_letter(one.number)
    assert (state.letter(one.number), state.letters(limit=1)) == (None, [two])


def test_of_each_queue_the_newest_letters_are_kept_as_many_as_there_is_room_for(state: SqlState) -> None:
    def keep(queue: str, *bodies: bytes) -> None:
        new = [NewLetter(f"{queue} {body[:1]!r}", queue, None, "no", 1.0, body) for body in bodies]
        state.keep_letters(new)

    def left(queue: str) -> list[bytes]:
        return [letter.body[:1] for letter in state.letters(queue=queue)]

    keep("events", b"a", b"b", b"c", b"d")
    keep("batches", b"e", b"f")
    assert state.trim_letters(LetterLimits(max_letters=2)) == 2
    assert (left("events"), left("batches")) == ([b"c", b"d"], [b"e", b"f"])
    keep("batches", b"g" * 600, b"h" * 400, b"i")
    assert state.trim_letters(LetterLimits(max_bytes=1000)) == 3
    assert (left("events"), left("batches")) == ([b"c", b"d"], [b"h", b"i"])
    assert state.trim_letters(LetterLimits()) == 0


def test_a_rejection_is_kept_once_with_all_its_faults_until_it_is_old(state: SqlState) -> None:
    faults = tuple(Fault(f"images[{n}]", f"is no key\0 \ud800 {n}") for n in range(300))
    first = NewRejection("b", "Utrecht", "m1", 10.0, faults, name="Canal houses \ud800")
    for new_one in (first, first, first._replace(message_id="m2", at=20.0), NewRejection("", "", None, 30.0, ())):
        state.keep_rejection(new_one)
    newest, second, oldest = state.rejections()
    assert (newest.batch, newest.name, newest.faults, second.at, oldest.at) == ("", "", (), 20.0, 10.0)
    assert oldest.name == "Canal houses \\ud800"
    assert len(oldest.faults) == 300
    assert oldest.faults[7] == Fault("images[7]", "is no key\N{REPLACEMENT CHARACTER} \\ud800 7")
    assert state.rejections(batch="b", limit=1) == [second]
    assert state.rejections(municipality="Utrecht", after=second.number) == [oldest]
    state.keep_letters([NewLetter("d" * 64, "q", None, "no", 5.0, b"")])
    state.forget_before(20.0)
    assert state.rejections() == [newest, second]
    assert state.letters() == []


def restored(url: str, folder: Path) -> Iterator[str]:
    """The URL of a copy of the ledger, made while it is in use and restored elsewhere, as the guide says."""
    if url.startswith("sqlite"):
        copy = folder / "backup.sqlite"
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as live, closing(sqlite3.connect(copy)) as target:
            live.backup(target)
        yield f"sqlite:///{copy}"
        return
    programs = find_postgres()
    assert programs
    server, _, options = url.partition("?")
    schema_name = options.rpartition("%3D")[2]
    archive = folder / "backup.dump"
    dump = [f"{programs}/pg_dump", "--format=custom", f"--schema={schema_name}", f"--file={archive}", server]
    subprocess.run(dump, check=True, timeout=60)
    name = f"restored_{schema_name}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"create database {name}".encode())
    elsewhere = f"{server.rpartition('/')[0]}/{name}"
    subprocess.run([f"{programs}/pg_restore", f"--dbname={elsewhere}", str(archive)], check=True, timeout=60)
    yield f"{elsewhere}?{options}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"drop database {name} with (force)".encode())


def test_a_backup_that_is_restored_elsewhere_is_the_ledger_of_that_moment(
    state: SqlState, url: str, tmp_path: Path
) -> None:
    number = running(state)
    state.commit([Commit(number, settled=[done(0), replace(failed(1), code="crashed", operation="blur")])])
    state.commit([Commit(number, leaves=[Leaf(2, 0, ((0, 2),), None, 0)], counts=Counts(5, 1, 1))])
    state.keep_rejection(NewRejection("x", "", None, 1.0, (Fault("a", "b"),)))
    for copy in restored(url, tmp_path):
        state.commit([Commit(number, settled=[done(3)], counts=Counts(5, 2, 1))])
        other = open_state(copy)
        assert other.take_over("after a restore") > 1
        assert [image.state for image in other.every_image(number)] == ["done", "failed", *["pending"] * 3]
        assert [row.counts for row in other.batches()] == [Counts(5, 1, 1)]
        assert other.leaves(number) == state.leaves(number)
        assert other.failure_groups(ANY) == state.failure_groups(ANY)
        assert other.rejections() == state.rejections()
        assert running(other, 2, "next") > number
        other.close()


def test_a_ledger_of_the_build_before_gets_its_owners_and_its_audit_trail(
    state: SqlState, url: str, administrator: Connection
) -> None:
    """The build before goes on with it, and what it inserts belongs to `default`."""
    number = running(state)
    for statement in ("DROP INDEX batches_by_owner", "ALTER TABLE batches DROP COLUMN owner", "DROP TABLE audit"):
        administrator.execute(text(statement))
    administrator.commit()
    other = open_state(url)
    assert [row.owner for row in other.batches()] == ["default"]
    assert administrator.execute(select(schema.c.version)).scalar_one() == 2
    copied = [column.name for column in batches.c if column.name not in {"number", "owner"}]
    changed = ", ".join("'c'" if name in {"id", "destination"} else name for name in copied)
    insert_as_before = f"INSERT INTO batches ({', '.join(copied)}) SELECT {changed} FROM batches"  # noqa: S608 - names
    administrator.execute(text(insert_as_before))
    administrator.commit()
    state.commit([Commit(number, settled=[done(0)])])
    assert [(row.id, row.owner) for row in other.batches(owner="default")] == [("c", "default"), ("b", "default")]
    assert other.audit() == []
    other.close()


def test_batches_of_one_owner_are_found(state: SqlState) -> None:
    for name in ("a", "b", "c"):
        state.insert_batch(replace(new(name), owner="delft" if name == "b" else "utrecht"))
    assert [row.id for row in state.batches(owner="utrecht")] == ["c", "a"]
    found = state.find("b")
    assert found is not None
    assert found.owner == "delft"
    assert state.batches(owner="\0") == []


def test_webhooks_wait_fail_and_are_given_up(state: SqlState) -> None:
    def new(event: str, host: str, at: float) -> NewWebhook:
        return NewWebhook(event, "utrecht", f"of {event}", f"https://{host}/", f"{host}:443", b"{}", at)

    for webhook in (new("a", "one", 10.0), new("b", "one", 5.0), new("c", "two", 20.0), new("a", "one", 11.0)):
        state.keep_webhook(webhook)
    assert [row.event for row in state.webhooks()] == ["c", "b", "a"]
    assert state.due_webhook(4.0, ()) is None
    first = state.due_webhook(30.0, ())
    assert first is not None
    assert (first.event, bytes(first.body), first.attempts, first.dead_at) == ("b", b"{}", 0, None)
    other = state.due_webhook(30.0, {"one:443"})
    assert other is not None
    assert other.event == "c"
    state.delay_webhook(Attempt(first.number, 30.0, "timed_out", "no \0 answer"), 100.0)
    state.bury_webhook(Attempt(other.number, 31.0, "gone", "answered 410"))
    found = {row.event: (row.attempts, row.next_at, row.dead_at, row.code) for row in state.webhooks(owner="utrecht")}
    assert found == {"a": (0, 10.0, None, None), "b": (1, 100.0, None, "timed_out"), "c": (1, 20.0, 31.0, "gone")}
    due = state.due_webhook(99.0, ())
    assert due is not None
    assert due.event == "a"
    state.drop_webhook(due.number)
    assert state.bury_webhooks(6.0, 50.0, "too_old") == 1
    assert state.due_webhook(1000.0, ()) is None
    assert [(row.event, row.code) for row in state.webhooks(limit=1)] == [("c", "gone")]
    assert [row.event for row in state.webhooks(after=other.number)] == ["b"]
    state.forget_webhooks(40.0)
    assert [row.event for row in state.webhooks()] == ["b"]


def test_the_audit_trail_only_grows(state: SqlState, url: str) -> None:
    first = AuditEntry(id="1", at=1.5, action="submit", owner="utrecht", by="é\0", batch="b")
    second = AuditEntry(id="2", at=2.5, action="key made", detail="delft")
    state.keep_audit([first, second])
    state.keep_audit([first.model_copy(update={"by": "somebody else"})])
    again = open_state(url)
    found = again.audit()
    assert [entry for _, entry in found] == [second, first.model_copy(update={"by": "é\N{REPLACEMENT CHARACTER}"})]
    assert [entry.id for _, entry in again.audit(after=found[0][0])] == ["1"]
    assert [entry.id for _, entry in again.audit(batch="b", owner="utrecht")] == ["1"]
    again.close()
