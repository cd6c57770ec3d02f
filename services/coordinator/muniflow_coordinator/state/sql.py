"""The store of state on SQLAlchemy Core: SQLite now, in SQL that PostgreSQL takes, too."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, bindparam, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.dml import Insert

from muniflow.errors import Unavailable
from muniflow_coordinator.ledger import Leaf
from muniflow_coordinator.state import rows
from muniflow_coordinator.state.tables import batches, images, leaves
from muniflow_coordinator.state.types import BatchRow, Commit, Counts, ImageRow, NewBatch

_UNFINISHED = ("intake", "running", "finishing")
_MANY = 500
"""Keys in one `in (…)`."""

_SETTLE = (
    update(images)
    .where(
        images.c.batch == bindparam("batch_"),
        images.c.n == bindparam("n_"),
        images.c.run == bindparam("run_"),
        images.c.state == "pending",
    )
    .values(state=bindparam("state_"), reasons=bindparam("reasons_"))
)
_FORGET_LEAVES = delete(leaves).where(leaves.c.batch == bindparam("batch_"), leaves.c.n == bindparam("n_"))


@contextmanager
def translated() -> Iterator[None]:
    """Turn trouble of the database into `Unavailable`; a bug in a statement stays what it is."""
    try:
        yield
    except DBAPIError as error:
        if type(error.orig).__name__ in {"OperationalError", "InterfaceError", "DatabaseError"}:
            raise Unavailable("state database", str(error.orig)) from error
        raise


class SqlState:
    """`muniflow_coordinator.state.types.State` on a database."""

    def __init__(self, writer: Engine, readers: Engine) -> None:
        """Write through `writer`, read through `readers`; their schema is up to date (see `open_state`)."""
        self._writer = writer
        self._readers = readers
        dialect = postgresql if writer.dialect.name == "postgresql" else sqlite
        self._keep_images: Insert = dialect.insert(images).on_conflict_do_nothing()
        self._keep_leaves: Insert = dialect.insert(leaves).on_conflict_do_nothing()

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with translated(), self._writer.begin() as connection:
            yield connection

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with translated(), self._readers.connect() as connection:
            yield connection

    def insert_batch(self, batch: NewBatch) -> int:
        """Keep a new batch; returns its number."""
        values = rows.new_batch_values(batch)
        with self._write() as connection:
            result = connection.execute(insert(batches).values(values))
            key = result.inserted_primary_key
        return int(key[0]) if key else 0

    def insert_images(self, batch: int, new: Sequence[ImageRow]) -> None:
        """Keep images; those that are kept already stay as they are."""
        if new:
            with self._write() as connection:
                connection.execute(self._keep_images, [rows.image_values(batch, image) for image in new])

    def commit(self, changes: Sequence[Commit]) -> None:
        """Apply all of this in one durable transaction."""
        kept = [rows.leaf_values(change.batch, leaf) for change in changes for leaf in change.leaves]
        settled = [rows.settled_values(change.batch, image) for change in changes for image in change.settled]
        forgotten = [
            {"batch_": change.batch, "n_": image.image}
            for change in changes
            for image in change.settled
            if image.had_rows
        ]
        with self._write() as connection:
            if kept:
                connection.execute(self._keep_leaves, kept)
            if settled:
                connection.execute(_SETTLE, settled)
            if forgotten:
                connection.execute(_FORGET_LEAVES, forgotten)
            for change in changes:
                if values := rows.changed_values(change):
                    self._update_batch(connection, change.batch, values)

    def _update_batch(self, connection: Connection, batch: int, values: rows.Values) -> None:
        connection.execute(update(batches).where(batches.c.number == batch).values(values))

    def cancel_images(self, batch: int, within: range, but: Collection[int], counts: Counts) -> Counts:
        """Cancel the pending ones of a range of images, `but` these; keeps and returns the batch's new counts."""
        where = (images.c.batch == batch, images.c.n.between(within.start, within.stop - 1))
        kept = [image for image in but if image in within]
        with self._write() as connection:
            changed = connection.execute(
                update(images)
                .where(*where, images.c.state == "pending", images.c.n.not_in(kept))
                .values(state="cancelled")
            ).rowcount
            after = counts.plus(cancelled=changed)
            self._update_batch(connection, batch, rows.count_values(after))
            # An image that another process heard of before a restart may have leaves; they are of no use now.
            connection.execute(
                delete(leaves).where(
                    leaves.c.batch == batch,
                    leaves.c.n.between(within.start, within.stop - 1),
                    leaves.c.n.not_in(kept),
                )
            )
        return after

    def reopen_images(self, batch: int, within: range, counts: Counts) -> Counts:
        """Make the failed ones of a range of images pending with the next run; the batch runs and has new counts."""
        with self._write() as connection:
            changed = connection.execute(
                update(images)
                .where(
                    images.c.batch == batch,
                    images.c.state == "failed",
                    images.c.n.between(within.start, within.stop - 1),
                )
                .values(state="pending", run=images.c.run + 1, reasons=None)
            ).rowcount
            after = counts.plus(failed=-changed)
            if changed:
                values: rows.Values = {"state": "running", "cancelling": False, "finished_at": None, "report": None}
                self._update_batch(connection, batch, values | rows.count_values(after))
        return after

    def drop_images(self, batch: int, within: range) -> None:
        """Forget a range of images."""
        with self._write() as connection:
            for table in (leaves, images):
                connection.execute(
                    delete(table).where(table.c.batch == batch, table.c.n.between(within.start, within.stop - 1))
                )

    def drop_batch(self, batch: int) -> None:
        """Forget a batch with all that belongs to it."""
        with self._write() as connection:
            for table in (leaves, images):
                connection.execute(delete(table).where(table.c.batch == batch))
            connection.execute(delete(batches).where(batches.c.number == batch))

    def find(self, batch_id: str) -> BatchRow | None:
        """A batch by its id."""
        with self._read() as connection:
            row = connection.execute(select(batches).where(batches.c.id == batch_id)).one_or_none()
        return None if row is None else rows.batch_row(row)

    def owner_of(self, destination: str) -> str | None:
        """The id of a batch whose destination is this one, above it or below it."""
        parts = destination.split("/")
        above = ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
        below = destination + "/"
        query = select(batches.c.id, batches.c.destination).where(
            batches.c.destination.in_(above) | batches.c.destination.startswith(below, autoescape=True)
        )
        with self._read() as connection:
            for row in connection.execute(query):
                # SQLite's LIKE does not tell letter cases apart; keys do.
                if row.destination in above or row.destination.startswith(below):
                    return str(row.id)
        return None

    def unfinished(self) -> list[BatchRow]:
        """All batches that are not in a terminal state, oldest first."""
        query = select(batches).where(batches.c.state.in_(_UNFINISHED)).order_by(batches.c.number)
        with self._read() as connection:
            return [rows.batch_row(row) for row in connection.execute(query)]

    def batches(
        self, *, state: str | None = None, municipality: str | None = None, after: int | None = None, limit: int = 100
    ) -> list[BatchRow]:
        """A page of batches, newest first, with numbers below `after`."""
        query = select(batches).order_by(batches.c.number.desc()).limit(limit)
        if state is not None:
            query = query.where(batches.c.state == state)
        if municipality is not None:
            query = query.where(batches.c.municipality == municipality)
        if after is not None:
            query = query.where(batches.c.number < after)
        with self._read() as connection:
            return [rows.batch_row(row) for row in connection.execute(query)]

    def images(self, batch: int, *, state: str | None = None, after: int = -1, limit: int = 1000) -> list[ImageRow]:
        """A page of images by number, with numbers above `after`."""
        query = select(images).where(images.c.batch == batch, images.c.n > after)
        if state is not None:
            query = query.where(images.c.state == state)
        if state not in {None, "done"}:
            query = query.where(images.c.state != "done")  # says that the small index has them all
        with self._read() as connection:
            return [rows.image_row(row) for row in connection.execute(query.order_by(images.c.n).limit(limit))]

    def every_image(self, batch: int) -> Iterator[ImageRow]:
        """All images of a batch by number, in constant memory."""
        after = -1
        while page := self.images(batch, after=after, limit=5000):
            yield from page
            after = page[-1].image

    def opened(self, batch: int, wanted: Collection[int]) -> list[tuple[ImageRow, list[Leaf]]]:
        """These images, as far as they exist, with the leaves that are kept of them."""
        found: list[tuple[ImageRow, list[Leaf]]] = []
        numbers = sorted(wanted)
        with self._read() as connection:
            for first in range(0, len(numbers), _MANY):
                some = numbers[first : first + _MANY]
                kept: dict[int, list[Leaf]] = {}
                query = select(leaves).where(leaves.c.batch == batch, leaves.c.n.in_(some))
                for row in connection.execute(query):
                    kept.setdefault(row.n, []).append(rows.leaf_row(row))
                result = connection.execute(select(images).where(images.c.batch == batch, images.c.n.in_(some)))
                found += [(rows.image_row(row), kept.get(row.n, [])) for row in result]
        return found

    def leaves(self, batch: int) -> list[Leaf]:
        """All leaves that are kept of a batch: those of images that were open."""
        with self._read() as connection:
            return [rows.leaf_row(row) for row in connection.execute(select(leaves).where(leaves.c.batch == batch))]

    def doubled_stems(self, batch: int, limit: int) -> list[tuple[ImageRow, ImageRow]]:
        """The first two images of each stem that several images of a batch share, at most `limit`."""
        numbers = (
            select(func.min(images.c.n).label("first"))
            .where(images.c.batch == batch)
            .group_by(images.c.stem)
            .having(func.count() > 1)
            .order_by(func.min(images.c.n))
            .limit(limit)
        )
        pairs = []
        with self._read() as connection:
            for number in connection.execute(numbers).scalars().all():
                stem = select(images.c.stem).where(images.c.batch == batch, images.c.n == number).scalar_subquery()
                query = select(images).where(images.c.batch == batch, images.c.stem == stem)
                first, second = connection.execute(query.order_by(images.c.n).limit(2)).all()
                pairs.append((rows.image_row(first), rows.image_row(second)))
        return pairs

    def states(self) -> dict[str, int]:
        """How many batches are in which state."""
        query = select(batches.c.state, func.count()).group_by(batches.c.state)
        with self._read() as connection:
            return {str(state): int(count) for state, count in connection.execute(query)}

    def close(self) -> None:
        """Close all connections."""
        self._writer.dispose()
        self._readers.dispose()
