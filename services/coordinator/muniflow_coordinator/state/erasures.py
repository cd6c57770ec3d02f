"""Erases batches and images in the database: `erasure_types.ErasureState`."""

import json
from collections.abc import Iterator, Mapping
from contextlib import closing

from sqlalchemy import ColumnElement, Connection, and_, delete, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from muniflow.model.audit import AuditEntry
from muniflow.model.messages import TERMINAL
from muniflow_coordinator.state import rows
from muniflow_coordinator.state.db_errors import translated
from muniflow_coordinator.state.erasure_types import Erasure, Expired
from muniflow_coordinator.state.rejections import SqlRejections
from muniflow_coordinator.state.tables import (
    audit,
    batches,
    checksums,
    documents,
    erasures,
    forecasts,
    images,
    leaves,
    letters,
    rejections,
    webhooks,
)

_DAY_S = 86400.0
_PAGE = 500
_ALL = -1
"""Stands for all images in the table: a column of a primary key cannot be empty."""


class SqlErasures(SqlRejections):
    """Reads and writes erasures."""

    def keep_erasure(self, new: Erasure) -> None:
        """Record what is to be erased; what is recorded already stays."""
        dialect = postgresql if self._writer.dialect.name == "postgresql" else sqlite
        values = new._asdict() | {"image": _ALL if new.image is None else new.image}
        with self._write(None) as connection:
            connection.execute(dialect.insert(erasures).on_conflict_do_nothing(), [values])

    def erase_image(self, batch: int, image: int, name: str) -> None:
        """Leave nothing of an image but its number: it is `cancelled` then, and has this name."""
        one = (images.c.batch == batch) & (images.c.n == image)
        with self._write(None) as connection:
            was = connection.execute(select(images.c.state).where(one)).scalar_one_or_none()
            if was is None:
                return
            connection.execute(
                update(images)
                .where(one)
                .values(
                    stem=name,
                    suffix="",
                    state="cancelled",
                    reasons=None,
                    reason_code=None,
                    operation=None,
                    failed_at=None,
                    version=None,
                    metadata=None,
                )
            )
            for table in (leaves, checksums):
                connection.execute(delete(table).where(table.c.batch == batch, table.c.n == image))
            if was in {"done", "failed"}:
                counts = {was: batches.c[was] - 1, "cancelled": batches.c.cancelled + 1}
                connection.execute(update(batches).where(batches.c.number == batch).values(counts))

    def end_erasure(self, erasure: Erasure, entry: AuditEntry) -> None:
        """Delete a batch without images and what else names it, and the record; add `entry` to the audit trail."""
        dialect = postgresql if self._writer.dialect.name == "postgresql" else sqlite
        told = dialect.insert(audit).on_conflict_do_nothing(index_elements=["id"])
        named = list(self._letters_of(erasure.batch)) if erasure.image is None else []
        with self._write(None) as connection:
            if erasure.image is None:
                _drop(connection, erasure, named)
            connection.execute(told, [rows.audit_values(entry)])
            connection.execute(delete(erasures).where(_same(erasure)))
        self._truncate_log()

    def _letters_of(self, batch_id: str) -> Iterator[int]:
        """Letters that are tasks, events or documents of the batch."""
        after = 0
        while page := self.letters(after=after, limit=_PAGE):
            yield from (letter.number for letter in page if batch_id in {letter.batch, *_named(letter.body)})
            after = page[-1].number

    def _truncate_log(self) -> None:
        """SQLite's write-ahead log has what was deleted until it is written over."""
        if self._sqlite:
            with translated(), closing(self._writer.raw_connection()) as connection:  # outside of any transaction
                connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def erasures(self) -> list[Erasure]:
        """Return what is to be erased, oldest first."""
        query = select(erasures).order_by(erasures.c.asked_at, erasures.c.batch, erasures.c.image)
        with self._read() as connection:
            found = [Erasure(*row) for row in connection.execute(query)]
        return [each._replace(image=None if each.image == _ALL else each.image) for each in found]

    def expired(self, now: float, keep_days: Mapping[str, float], limit: int) -> list[Expired]:
        """Return ended batches that were kept long enough, by their own `keep_days` or by that of their owner."""
        own = batches.c.finished_at + batches.c.keep_days * _DAY_S <= now
        by_owner: list[ColumnElement[bool]] = [
            and_(batches.c.owner == owner, batches.c.finished_at <= now - days * _DAY_S)
            for owner, days in keep_days.items()
        ]
        columns = (batches.c.id, batches.c.owner, batches.c.keep_days)
        query = select(*columns).where(batches.c.state.in_(TERMINAL), or_(own, *by_owner))
        with self._read() as connection:
            found = connection.execute(query.order_by(batches.c.number).limit(limit)).all()
        return [
            Expired(id_, owner, min(days for days in (own_days, keep_days.get(owner)) if days is not None))
            for id_, owner, own_days in found
        ]


def _drop(connection: Connection, erasure: Erasure, named: list[int]) -> None:
    number = connection.execute(select(batches.c.number).where(batches.c.id == erasure.batch)).scalar_one_or_none()
    if number is not None:
        for table in (leaves, checksums, images, documents):
            connection.execute(delete(table).where(table.c.batch == number))
        connection.execute(delete(batches).where(batches.c.number == number))
    for table in (rejections, webhooks):
        connection.execute(delete(table).where(table.c.batch == erasure.batch, table.c.owner == erasure.owner))
    connection.execute(delete(forecasts).where(forecasts.c.batch == erasure.batch))
    for first in range(0, len(named), _PAGE):
        connection.execute(delete(letters).where(letters.c.number.in_(named[first : first + _PAGE])))


def _same(erasure: Erasure) -> ColumnElement[bool]:
    image = _ALL if erasure.image is None else erasure.image
    return (erasures.c.batch == erasure.batch) & (erasures.c.image == image)


def _named(body: bytes) -> set[str]:
    """The batches that a message names."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return set()
    if not isinstance(document, dict):
        return set()
    parts = [document, *(part for many in ("settled", "tallies") for part in document.get(many) or ())]
    return {str(part.get(name)) for part in parts if isinstance(part, dict) for name in ("batch", "batch_id")}
