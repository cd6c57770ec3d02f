"""The store of state on SQLAlchemy Core, in SQL that SQLite and PostgreSQL both take."""

import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, bindparam, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import Insert

from muniflow_coordinator.leadership.types import Deposed
from muniflow_coordinator.state import rows
from muniflow_coordinator.state.db_errors import translated
from muniflow_coordinator.state.many import Many
from muniflow_coordinator.state.reading import SqlReads
from muniflow_coordinator.state.tables import batches, documents, images, leadership, leaves
from muniflow_coordinator.state.types import Commit, Counts, ImageRow, NewBatch
from muniflow_coordinator.state.upgrade import check_version, upgrade

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
_SETTLE_DONE = (
    update(images)
    .where(
        images.c.batch == bindparam("batch_"),
        images.c.n.between(bindparam("first_"), bindparam("last_")),
        images.c.run == bindparam("run_"),
        images.c.state == "pending",
    )
    .values(state="done", reasons=None)
)
_UPDATE_BATCH = update(batches).where(batches.c.number == bindparam("number_"))
_KEEP_BATCH = insert(batches)
_FORGET_LEAVES = delete(leaves).where(leaves.c.batch == bindparam("batch_"), leaves.c.n == bindparam("n_"))
# The lock on the row makes a successor wait for this transaction, and this one see a successor that came first.
_MINE = select(leadership.c.epoch).where(leadership.c.epoch == bindparam("mine")).with_for_update(read=True)
_COUNTS = select(batches.c.total, batches.c.done, batches.c.failed, batches.c.cancelled)


class SqlState(SqlReads):
    """`muniflow_coordinator.state.types.State` on a database."""

    def __init__(self, writer: Engine, readers: Engine) -> None:
        """Write through `writer`, read through `readers`; nothing is opened before the first use."""
        super().__init__(readers)
        self._writer = writer
        dialect = postgresql if writer.dialect.name == "postgresql" else sqlite
        self._keep_images = Many(dialect.insert(images).on_conflict_do_nothing(), images, writer.dialect)
        self._keep_leaves: Insert = dialect.insert(leaves).on_conflict_do_nothing()

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with translated(), self._writer.begin() as connection:
            if connection.execute(_MINE, {"mine": self._epoch}).first() is None:
                raise Deposed("another coordinator has taken over the database")
            yield connection

    def prepare(self) -> None:
        """Make or upgrade the tables.

        Raises:
            Rejected: the database was written by a newer version of muniflow.
        """
        with translated():
            upgrade(self._writer)

    def take_over(self, holder: str) -> int:
        """Become the one that writes, until another one takes over; returns the new epoch."""
        with translated(), self._writer.begin() as connection:
            check_version(connection)
            connection.execute(
                update(leadership).values(epoch=leadership.c.epoch + 1, holder=rows.storable(holder), since=time.time())
            )
            epoch = int(connection.execute(select(leadership.c.epoch)).scalar_one())
        self._epoch = epoch
        return epoch

    def resign(self) -> None:
        """Write nothing more before the next `take_over`."""
        self._epoch = None

    def insert_batch(self, batch: NewBatch, images: Sequence[ImageRow] | None = None) -> int:
        """Keep a new batch with its document; or, with all its `images`, as accepted. Returns its number."""
        values = rows.new_batch_values(batch)
        if images is not None:
            values |= {"state": "running", **rows.count_values(Counts(len(images)))}
        with self._write() as connection:
            key = connection.execute(_KEEP_BATCH, values).inserted_primary_key
            number = int(key[0]) if key else 0
            if images is None:
                connection.execute(insert(documents).values(batch=number, body=batch.document))
            else:
                self._insert_images(connection, number, images)
        return number

    def insert_images(self, batch: int, new: Sequence[ImageRow]) -> None:
        """Keep images; those that are kept already stay as they are."""
        if new:
            with self._write() as connection:
                self._insert_images(connection, batch, new)

    def _insert_images(self, connection: Connection, batch: int, new: Sequence[ImageRow]) -> None:
        self._keep_images.execute(connection, [rows.image_values(batch, image) for image in new])

    def accept_batch(self, batch: int, total: int, rest: Sequence[ImageRow] = ()) -> None:
        """With `rest`, all images of a batch are kept: it runs, and its document is not needed any more."""
        with self._write() as connection:
            if rest:
                self._insert_images(connection, batch, rest)
            self._update_batch(connection, batch, {"state": "running", **rows.count_values(Counts(total))})
            connection.execute(delete(documents).where(documents.c.batch == batch))

    def commit(self, changes: Sequence[Commit]) -> None:
        """Apply all of this in one durable transaction."""
        kept = [rows.leaf_values(change.batch, leaf) for change in changes for leaf in change.leaves]
        settled = [rows.settle_values(change.batch, change.settled) for change in changes]
        done = [values for ranges, _ in settled for values in ranges]
        single = [values for _, others in settled for values in others]
        forgotten = [
            {"batch_": change.batch, "n_": image.image}
            for change in changes
            for image in change.settled
            if image.had_leaves
        ]
        with self._write() as connection:
            if kept:
                connection.execute(self._keep_leaves, kept)
            if done:
                connection.execute(_SETTLE_DONE, done)
            if single:
                connection.execute(_SETTLE, single)
            if forgotten:
                connection.execute(_FORGET_LEAVES, forgotten)
            for change in changes:
                if values := rows.changed_values(change):
                    self._update_batch(connection, change.batch, values)

    def _update_batch(self, connection: Connection, batch: int, values: rows.Values) -> None:
        connection.execute(_UPDATE_BATCH, {"number_": batch, **values})

    def _counts(self, connection: Connection, batch: int) -> Counts:
        """The counts as they are kept: right also when an earlier call did it all and its answer was lost."""
        return rows.counts_of(connection.execute(_COUNTS.where(batches.c.number == batch)).one())

    def cancel_images(self, batch: int, within: range, but: Collection[int]) -> Counts:
        """Cancel the pending ones of a range of images, `but` these; keeps and returns the batch's new counts."""
        where = (images.c.batch == batch, images.c.n.between(within.start, within.stop - 1))
        kept = [image for image in but if image in within]
        with self._write() as connection:
            changed = connection.execute(
                update(images)
                .where(*where, images.c.state == "pending", images.c.n.not_in(kept))
                .values(state="cancelled")
            ).rowcount
            after = self._counts(connection, batch).plus(cancelled=changed)
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

    def reopen_images(self, batch: int, within: range) -> Counts:
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
            after = self._counts(connection, batch).plus(failed=-changed)
            if changed:
                values: rows.Values = {"state": "running", "cancelling": False, "finished_at": None, "report": None}
                self._update_batch(connection, batch, values | rows.count_values(after))
        return after

    def drop_images(self, batch: int, most: int) -> bool:
        """Forget up to `most` images of a batch, the last ones first; returns whether any are left."""
        with self._write() as connection:
            last = connection.execute(select(func.max(images.c.n)).where(images.c.batch == batch)).scalar_one()
            if last is None:
                return False
            for table in (leaves, images):
                connection.execute(delete(table).where(table.c.batch == batch, table.c.n > last - most))
        return bool(last - most >= 0)

    def drop_batch(self, batch: int) -> None:
        """Forget a batch with all that belongs to it."""
        with self._write() as connection:
            for table in (leaves, images, documents):
                connection.execute(delete(table).where(table.c.batch == batch))
            connection.execute(delete(batches).where(batches.c.number == batch))

    def close(self) -> None:
        """Close all connections."""
        self._writer.dispose()
        self._readers.dispose()
