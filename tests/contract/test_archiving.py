"""Archiving ended batches, in both databases."""

import pytest
from sqlalchemy import Connection, text
from tests.contract.test_state import administrator, done, failed, running, state, url  # noqa: F401 - fixtures

from muniflow.model.ledger import Leaf
from muniflow_coordinator.state import Commit
from muniflow_coordinator.state.sql import SqlState
from muniflow_coordinator.state.types import Counts

pytest_plugins = ["tests.support.postgres_fixtures"]
IMAGE_TABLES = ("images", "leaves", "checksums", "documents")


def ended(state: SqlState, batch_id: str = "b", at: float = 5.0) -> int:  # noqa: F811
    """A batch of three images, one of which has failed."""
    number = running(state, 3, batch_id)
    counts = Counts(3, done=2, failed=1)
    state.commit([Commit(number, leaves=[Leaf(1, 0, ((0, 2),), None, 0)], settled=[done(0), failed(1)])])
    state.commit([Commit(number, settled=[done(2)], counts=counts, state="partial", finished_at=at, report="r")])
    return number


def rows_of(administrator: Connection, number: int) -> dict[str, int]:  # noqa: F811
    counted = {
        table: administrator.execute(text(f"SELECT count(*) FROM {table} WHERE batch = {number}")).scalar_one()  # noqa: S608
        for table in IMAGE_TABLES
    }
    administrator.rollback()
    return counted


def test_of_an_archived_batch_its_own_row_stays(state: SqlState, administrator: Connection) -> None:  # noqa: F811
    number, other = ended(state), ended(state, "other")
    was = state.find("b")
    assert was
    for _ in range(2):
        assert state.archive(number, 7.0)
    assert state.archiving() == [number]
    assert state.drop_images(number, 2)
    assert not state.drop_images(number, 2)
    state.end_archive(number)
    assert state.archiving() == []
    row = state.find("b")
    assert row
    assert row.archived_at == 7.0
    assert (row.counts, row.state, row.report, row.owner) == (was.counts, was.state, was.report, was.owner)
    assert set(rows_of(administrator, number).values()) == {0}
    assert rows_of(administrator, other)["images"] == 3


@pytest.mark.parametrize("state_of_batch", ["running", "finishing", "intake"])
def test_a_batch_that_has_not_ended_is_not_archived(state: SqlState, state_of_batch: str) -> None:  # noqa: F811
    number = running(state, 3)
    state.commit([Commit(number, state=state_of_batch, finished_at=1.0)])  # type: ignore[arg-type]
    assert not state.archive(number, 7.0)
    assert state.archivable(9.0, 0) is None
    assert not state.archive(99, 7.0)
    assert state.archiving() == []


def test_failed_images_of_an_archived_batch_do_not_run_again(state: SqlState) -> None:  # noqa: F811
    number = ended(state)
    state.archive(number, 7.0)
    assert state.reopen_images(number, range(3)).failed == 1
    assert [image.state for image in state.images(number)] == ["done", "failed", "done"]


def test_batches_are_archived_one_after_the_other(state: SqlState) -> None:  # noqa: F811
    first, second, _late = ended(state, "a", 5.0), ended(state, "b", 4.0), ended(state, "c", 9.0)

    def next_after(number: int) -> str | None:
        row = state.archivable(5.0, number)
        return None if row is None else row.id

    assert [next_after(0), next_after(first), next_after(second)] == ["a", "b", None]
    state.archive(first, 6.0)
    assert next_after(0) == "b"
