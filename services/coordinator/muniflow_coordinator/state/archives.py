"""Archives ended batches in the database: `archive_types.ArchiveState`."""

from sqlalchemy import delete, select, update

from muniflow.model.messages import TERMINAL
from muniflow_coordinator.state import rows
from muniflow_coordinator.state.erasures import SqlErasures
from muniflow_coordinator.state.tables import batches, checksums, documents, images, leaves
from muniflow_coordinator.state.types import BatchRow


class SqlArchives(SqlErasures):
    """Reads and writes what is archived."""

    def archive(self, batch: int, at: float) -> bool:
        """Record that the report of a batch stands for its images from `at` on; returns whether it does now."""
        ended = (batches.c.number == batch) & batches.c.state.in_(TERMINAL)
        with self._write(None) as connection:
            connection.execute(
                update(batches).where(ended, batches.c.archived_at.is_(None)).values(archived_at=at, rows_left=True)
            )
            # An earlier call may have been committed, and its answer lost.
            return connection.execute(select(batches.c.archived_at).where(ended)).scalar_one_or_none() is not None

    def end_archive(self, batch: int) -> None:
        """Delete what is left of an archived batch but its own row."""
        with self._write(None) as connection:
            for table in (leaves, checksums, images, documents):
                connection.execute(delete(table).where(table.c.batch == batch))
            connection.execute(update(batches).where(batches.c.number == batch).values(rows_left=None))

    def archiving(self) -> list[int]:
        """Return the numbers of archived batches whose images may have rows."""
        query = select(batches.c.number).where(batches.c.rows_left.is_not(None)).order_by(batches.c.number)
        with self._read() as connection:
            return list(connection.execute(query).scalars())

    def archivable(self, before: float, after: int) -> BatchRow | None:
        """Return the first batch above `after` that ended `before` that time and is not archived."""
        wanted = (batches.c.number > after, batches.c.finished_at <= before, batches.c.archived_at.is_(None))
        query = select(batches).where(batches.c.state.in_(TERMINAL), *wanted).order_by(batches.c.number).limit(1)
        with self._read() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else rows.batch_row(row)
