"""The state store on SQLAlchemy Core, for SQLite and PostgreSQL."""

import json
from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import Connection, Engine, bindparam, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import Insert

from muniflow.model.audit import AuditEntry
from muniflow.runtime.clock import Clock
from muniflow.runtime.failpoints import Failpoints
from muniflow_coordinator.state import rows
from muniflow_coordinator.state.charge_types import Charge
from muniflow_coordinator.state.db_errors import translated
from muniflow_coordinator.state.failure_types import ANY, Chosen
from muniflow_coordinator.state.failures import failure_of
from muniflow_coordinator.state.learned_types import ForecastRow, ServiceTimeRow
from muniflow_coordinator.state.many import Many
from muniflow_coordinator.state.tables import (
    audit,
    batches,
    checksums,
    documents,
    forecasts,
    images,
    leadership,
    leaves,
    service_times,
)
from muniflow_coordinator.state.types import Commit, Counts, ImageRow, NewBatch
from muniflow_coordinator.state.upgrade import check_version, upgrade
from muniflow_coordinator.state.webhooks import SqlWebhooks

_OF_RUN = (images.c.batch == bindparam("batch_"), images.c.run == bindparam("run_"), images.c.state == "pending")
_ONE_PENDING = (*_OF_RUN, images.c.n == bindparam("n_"))
_SETTLE = (
    update(images)
    .where(*_ONE_PENDING)
    .values(
        state=bindparam("state_"),
        reasons=bindparam("reasons_"),
        reason_code=bindparam("reason_code_"),
        operation=bindparam("operation_"),
        failed_at=bindparam("failed_at_"),
        dropped=None,
    )
)
_SETTLE_DONE = (
    update(images)
    .where(*_OF_RUN, images.c.n.between(bindparam("first_"), bindparam("last_")))
    .values(state="done", reasons=None, metadata=bindparam("metadata_"))
)
_UPDATE_BATCH = update(batches).where(batches.c.number == bindparam("number_"))
_KEEP_BATCH = insert(batches)
_FORGET_LEAVES = delete(leaves).where(leaves.c.batch == bindparam("batch_"), leaves.c.n == bindparam("n_"))
_FORGET_RUN = _FORGET_LEAVES.where(leaves.c.run == bindparam("run_"))
_RESTART = update(images).where(*_ONE_PENDING).values(run=images.c.run + 1)
_ARCHIVED_AT = select(batches.c.archived_at)
_COUNTS = select(batches.c.total, batches.c.done, batches.c.failed, batches.c.cancelled)


class SqlState(SqlWebhooks):
    """`muniflow_coordinator.state.types.State` on a database."""

    def __init__(self, writer: Engine, readers: Engine, clock: Clock, failpoints: Failpoints) -> None:
        """Write through `writer`, read through `readers`; nothing is opened before the first use."""
        super().__init__(writer, readers, clock, failpoints)
        dialect = postgresql if writer.dialect.name == "postgresql" else sqlite
        self._keep_images = Many(dialect.insert(images).on_conflict_do_nothing(), images, writer.dialect)
        self._keep_leaves: Insert = dialect.insert(leaves).on_conflict_do_nothing()
        self._keep_audit: Insert = dialect.insert(audit).on_conflict_do_nothing(index_elements=["id"])
        summed = dialect.insert(checksums)
        last = summed.on_conflict_do_update(index_elements=["batch", "n"], set_={"sums": summed.excluded.sums})
        self._keep_checksums = Many(last, checksums, writer.dialect)
        observed = dialect.insert(service_times)
        newer = {name: observed.excluded[name] for name in ("task_class", "sums", "updated_at")}
        kept = dialect.insert(forecasts)
        others = {column.name: kept.excluded[column.name] for column in forecasts.c if not column.primary_key}
        self._keep_forecasts: Insert = kept.on_conflict_do_update(index_elements=["batch"], set_=others)
        self._keep_service_times: Insert = observed.on_conflict_do_update(index_elements=["key"], set_=newer)

    def prepare(self) -> None:
        """Create or upgrade the tables.

        Raises:
            Rejected: a newer muniflow wrote the database.
        """
        with translated():
            upgrade(self._writer, self._clock.now_s())

    def take_over(self, holder: str) -> int:
        """Become the process that writes, until another one takes over; returns the new epoch."""
        values = {"holder": rows.storable(holder), "since": self._clock.now_s()}
        with self._begin("take_over") as connection:
            check_version(connection)
            connection.execute(update(leadership).values(epoch=leadership.c.epoch + 1, **values))
            epoch = int(connection.execute(select(leadership.c.epoch)).scalar_one())
        self._epoch = epoch
        return epoch

    def resign(self) -> None:
        """Write nothing more before the next `take_over`."""
        self._epoch = None

    def insert_batch(self, batch: NewBatch, images: Sequence[ImageRow] | None = None) -> int:
        """Insert a new batch with its document; or, with all its `images`, as accepted. Returns its number."""
        values = rows.new_batch_values(batch)
        if images is not None:
            values |= {"state": "running", **rows.count_values(Counts(len(images)))}
        with self._write("insert_batch") as connection:
            key = connection.execute(_KEEP_BATCH, values).inserted_primary_key
            number = int(key[0]) if key else 0
            if images is None:
                connection.execute(insert(documents).values(batch=number, body=batch.document))
            else:
                self._insert_images(connection, number, images)
        return number

    def insert_images(self, batch: int, new: Sequence[ImageRow]) -> None:
        """Insert images; existing ones are not changed."""
        if new:
            with self._write("insert_images") as connection:
                self._insert_images(connection, batch, new)

    def _insert_images(self, connection: Connection, batch: int, new: Sequence[ImageRow]) -> None:
        self._keep_images.execute(connection, [rows.image_values(batch, image) for image in new])
        if sums := rows.checksum_values(batch, new):
            self._keep_checksums.execute(connection, sums)

    def accept_batch(
        self,
        batch: int,
        counts: Counts,
        rest: Sequence[ImageRow] = (),
        *,
        spec: str | None = None,
        charge: Charge | None = None,
    ) -> None:
        """Insert the `rest` of the images of a batch, set its state, delete its document, and charge."""
        values: rows.Values = {"state": "running", **rows.count_values(counts)}
        values |= {} if counts.pending else {"state": "finishing", "finished_at": self._clock.now_s()}
        values |= {} if spec is None else {"spec": spec}
        with self._write("accept_batch") as connection:
            if charge is not None:
                self._charge(connection, batch, charge)
            if rest:
                self._insert_images(connection, batch, rest)
            self._update_batch(connection, batch, values)
            connection.execute(delete(documents).where(documents.c.batch == batch))

    def commit(self, changes: Sequence[Commit]) -> None:
        """Apply all of this in one durable transaction."""
        kept = [rows.leaf_values(change.batch, leaf) for change in changes for leaf in change.leaves]
        now = self._clock.now_s()
        settled = [rows.settle_values(change.batch, change.settled, now) for change in changes]
        done = [values for ranges, _ in settled for values in ranges]
        single = [values for _, others in settled for values in others]
        sums = [values for change in changes for values in rows.checksum_values(change.batch, change.settled)]
        forgotten = [
            {"batch_": change.batch, "n_": image.image}
            for change in changes
            for image in change.settled
            if image.had_leaves
        ]
        with self._write(_kind(changes)) as connection:
            if kept:
                connection.execute(self._keep_leaves, kept)
            if done:
                connection.execute(_SETTLE_DONE, done)
            if single:
                connection.execute(_SETTLE, single)
            if sums:
                self._keep_checksums.execute(connection, sums)
            if forgotten:
                connection.execute(_FORGET_LEAVES, forgotten)
            for change in changes:
                if values := rows.changed_values(change):
                    self._update_batch(connection, change.batch, values)
                if change.in_flight is not None:
                    # An accepted batch has no document any more.
                    body = json.dumps(sorted(change.in_flight)).encode()
                    connection.execute(delete(documents).where(documents.c.batch == change.batch))
                    connection.execute(insert(documents).values(batch=change.batch, body=body))

    def _update_batch(self, connection: Connection, batch: int, values: rows.Values) -> None:
        connection.execute(_UPDATE_BATCH, {"number_": batch, **values})

    def _counts(self, connection: Connection, batch: int) -> Counts:
        """Return the counts in the database: right also when an earlier call was committed and its answer was lost."""
        return rows.counts_of(connection.execute(_COUNTS.where(batches.c.number == batch)).one())

    def cancel_images(self, batch: int, within: range, but: Collection[int]) -> Counts:
        """Cancel the pending images of a range, except `but`; records and returns the batch's new counts."""
        where = (images.c.batch == batch, images.c.n.between(within.start, within.stop - 1))
        kept = [image for image in but if image in within]
        with self._write("cancel_images") as connection:
            changed = connection.execute(
                update(images)
                .where(*where, images.c.state == "pending", images.c.n.not_in(kept))
                .values(state="cancelled")
            ).rowcount
            after = self._counts(connection, batch).plus(cancelled=changed)
            self._update_batch(connection, batch, rows.count_values(after))
            # Images with events from before a restart may have leaves, which are of no use now.
            connection.execute(
                delete(leaves).where(
                    leaves.c.batch == batch,
                    leaves.c.n.between(within.start, within.stop - 1),
                    leaves.c.n.not_in(kept),
                )
            )
        return after

    def reopen_images(self, batch: int, within: range, chosen: Chosen = ANY) -> Counts:
        """Make the failed images of a range pending, in their next run; records and returns the batch's new counts."""
        with self._write("reopen_images") as connection:
            changed = connection.execute(
                update(images)
                .where(
                    failure_of(chosen._replace(batch=batch)),
                    images.c.n.between(within.start, within.stop - 1),
                    _ARCHIVED_AT.where(batches.c.number == batch).scalar_subquery().is_(None),
                )
                .values(state="pending", run=images.c.run + 1, reasons=None, reason_code=None, operation=None)
            ).rowcount
            after = self._counts(connection, batch).plus(failed=-changed)
            if changed:
                values: rows.Values = {"state": "running", "cancelling": False, "finished_at": None, "report": None}
                self._update_batch(connection, batch, values | rows.count_values(after))
        return after

    def restart_images(self, batch: int, wanted: Mapping[int, int]) -> None:
        """Put pending images into their next run, if they are in the one that `wanted` has, without their leaves."""
        values = [{"batch_": batch, "n_": image, "run_": run} for image, run in wanted.items()]
        with self._write("restart_images") as connection:
            connection.execute(_FORGET_RUN, values)
            connection.execute(_RESTART, values)

    def drop_images(self, batch: int, most: int) -> bool:
        """Delete up to `most` images of a batch, the last ones first; returns whether any are left."""
        with self._write("drop_images") as connection:
            last = connection.execute(select(func.max(images.c.n)).where(images.c.batch == batch)).scalar_one()
            if last is None:
                return False
            for table in (leaves, checksums, images):
                connection.execute(delete(table).where(table.c.batch == batch, table.c.n > last - most))
        return bool(last - most >= 0)

    def drop_batch(self, batch: int) -> None:
        """Delete a batch with its images, leaves and document."""
        with self._write("drop_batch") as connection:
            for table in (leaves, checksums, images, documents):
                connection.execute(delete(table).where(table.c.batch == batch))
            connection.execute(delete(batches).where(batches.c.number == batch))

    def keep_service_times(self, observed: Sequence[ServiceTimeRow], most: int) -> None:
        """Insert or replace the rows of these classes; of all rows only the `most` newest are kept."""
        if not observed:
            return
        newest = select(service_times.c.key).order_by(service_times.c.updated_at.desc(), service_times.c.key)
        with self._write(None) as connection:
            connection.execute(self._keep_service_times, [row._asdict() for row in observed])
            connection.execute(delete(service_times).where(service_times.c.key.not_in(newest.limit(most))))

    def keep_forecasts(self, changed: Sequence[ForecastRow], most: int) -> None:
        """Insert or replace these rows; of those that ended only the `most` newest are kept."""
        ended = forecasts.c.ended_at.is_not(None)
        newest = select(forecasts.c.batch).where(ended).order_by(forecasts.c.ended_at.desc()).limit(most)
        with self._write(None) as connection:
            connection.execute(self._keep_forecasts, [rows.forecast_values(row) for row in changed])
            connection.execute(delete(forecasts).where(ended, forecasts.c.batch.not_in(newest)))

    def keep_audit(self, entries: Sequence[AuditEntry]) -> None:
        """Add entries to the audit trail; those that it has are not changed."""
        with self._write(None) as connection:
            connection.execute(self._keep_audit, [rows.audit_values(entry) for entry in entries])

    def close(self) -> None:
        """Close all connections."""
        self._writer.dispose()
        self._readers.dispose()


def _kind(changes: Sequence[Commit]) -> str | None:
    """Return the name of a commit in `LEDGER_COMMITS`; `None` if it records events or the end of a batch."""
    if any(change.cancelling for change in changes):
        return "mark_cancelling"
    if any(change.state == "finishing" and not change.settled for change in changes):
        return "complete"
    return None
