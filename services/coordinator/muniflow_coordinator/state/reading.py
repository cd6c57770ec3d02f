"""The readers of the state store. Every method may be called from any thread."""

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from sqlalchemy import ColumnElement, Connection, Engine, bindparam, func, literal_column, select

from muniflow.model.audit import AuditEntry
from muniflow.model.checksums import ImageSums
from muniflow.model.ledger import Leaf
from muniflow.model.messages import UNFINISHED
from muniflow_coordinator.state import rows
from muniflow_coordinator.state.db_errors import translated
from muniflow_coordinator.state.learned_types import ForecastRow, ServiceTimeRow
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
from muniflow_coordinator.state.types import BatchRow, ImageRow

_MANY = 500
"""Keys in one `in (…)`."""
_FIND = select(batches).where(batches.c.id == bindparam("id_"))
_NOT_DONE = images.c.state != literal_column("'done'")
"""A literal, as in the index: with a parameter the planner would not use the index."""


class SqlReads:
    """The second half of `muniflow_coordinator.state.types.State`."""

    def __init__(self, readers: Engine) -> None:
        """Read through `readers`."""
        self._readers = readers
        self._sqlite = readers.dialect.name == "sqlite"
        self._epoch: int | None = None

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with translated(), self._readers.connect() as connection:
            yield connection

    def mine(self) -> bool:
        """Return whether this process took over last."""
        with self._read() as connection:
            return connection.execute(select(leadership.c.epoch)).scalar_one_or_none() == self._epoch

    def holder(self) -> str:
        """Return who took over last; empty if nobody did."""
        with self._read() as connection:
            return str(connection.execute(select(leadership.c.holder)).scalar_one_or_none() or "")

    def document(self, batch: int) -> bytes | None:
        """Return the document of a batch in state `intake`, or `None`."""
        with self._read() as connection:
            body = connection.execute(select(documents.c.body).where(documents.c.batch == batch)).scalar_one_or_none()
        return None if body is None else bytes(body)

    def kept_images(self, batch: int) -> list[int]:
        """Return the images of a batch that were in flight when it was cancelled."""
        body = self.document(batch)
        return [] if body is None else list(map(int, json.loads(body)))

    def find(self, batch_id: str) -> BatchRow | None:
        """Return a batch by its id."""
        with self._read() as connection:
            row = connection.execute(_FIND, {"id_": rows.storable(batch_id)}).one_or_none()
        return None if row is None else rows.batch_row(row)

    def owner_of(self, destination: str) -> str | None:
        """Return the id of a batch with this destination, or one above or below it."""
        parts = destination.split("/")
        above = ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
        # A range where the order is that of bytes, in which "0" comes after "/": SQLite's LIKE uses no index.
        below = (
            (batches.c.destination > f"{destination}/") & (batches.c.destination < f"{destination}0")
            if self._sqlite
            else batches.c.destination.startswith(f"{destination}/", autoescape=True)
        )
        query = select(batches.c.id).where(batches.c.destination.in_(above) | below).limit(1)
        with self._read() as connection:
            return connection.execute(query).scalar_one_or_none()

    def unfinished(self) -> list[BatchRow]:
        """Return all batches that are not in a terminal state, oldest first."""
        query = select(batches).where(batches.c.state.in_(UNFINISHED)).order_by(batches.c.number)
        with self._read() as connection:
            return [rows.batch_row(row) for row in connection.execute(query)]

    def batches(
        self,
        *,
        state: str | None = None,
        municipality: str | None = None,
        owner: str | None = None,
        after: int | None = None,
        limit: int = 100,
    ) -> list[BatchRow]:
        """Return a page of batches, newest first, with numbers below `after`."""
        query = select(batches).order_by(batches.c.number.desc()).limit(limit)
        if state is not None:
            query = query.where(batches.c.state == rows.storable(state))
        if municipality is not None:
            query = query.where(batches.c.municipality == rows.storable(municipality))
        if owner is not None:
            query = query.where(batches.c.owner == rows.storable(owner))
        if after is not None:
            query = query.where(batches.c.number < after)
        with self._read() as connection:
            return [rows.batch_row(row) for row in connection.execute(query)]

    def images(self, batch: int, *, state: str | None = None, after: int = -1, limit: int = 1000) -> list[ImageRow]:
        """Return a page of images by number, with numbers above `after`."""
        query = select(images).where(images.c.batch == batch, images.c.n > after)
        if state is not None:
            wanted: ColumnElement[bool] = images.c.state == rows.storable(state)
            if state != "done":
                query = query.where(_NOT_DONE)
                # Without statistics, SQLite would scan all images of the batch, most of them done.
                wanted = func.unlikely(wanted) if self._sqlite else wanted
            query = query.where(wanted)
        with self._read() as connection:
            return rows.image_rows(connection.execute(query.order_by(images.c.n).limit(limit)))

    def every_image(self, batch: int) -> Iterator[ImageRow]:
        """Yield all images of a batch by number, in constant memory."""
        after = -1
        while page := self.images(batch, after=after, limit=5000):
            yield from self._with_sums(batch, page)
            after = page[-1].image

    def _with_sums(self, batch: int, page: list[ImageRow]) -> Iterator[ImageRow]:
        within = checksums.c.n.between(page[0].image, page[-1].image)
        query = select(checksums.c.n, checksums.c.sums).where(checksums.c.batch == batch, within)
        with self._read() as connection:
            known = {n: bytes(sums) for n, sums in connection.execute(query)}
        for row in page:
            sums = known.get(row.image)
            yield row if sums is None else row._replace(sums=ImageSums.unpack(sums))

    def opened(self, batch: int, wanted: Collection[int]) -> list[tuple[ImageRow, list[Leaf]]]:
        """Return those of these images that exist, with their recorded leaves."""
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
                found += [(row, kept.get(row.image, [])) for row in rows.image_rows(result)]
        return found

    def leaves(self, batch: int) -> list[Leaf]:
        """Return all recorded leaves of a batch, which are those of open images."""
        with self._read() as connection:
            return [rows.leaf_row(row) for row in connection.execute(select(leaves).where(leaves.c.batch == batch))]

    def doubled_stems(self, batch: int, limit: int) -> list[tuple[ImageRow, ImageRow]]:
        """Return the first two images of each stem that several images of a batch share, at most `limit` pairs."""
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
                first, second = rows.image_rows(connection.execute(query.order_by(images.c.n).limit(2)))
                pairs.append((first, second))
        return pairs

    def service_times(self) -> list[ServiceTimeRow]:
        """Return what is kept of service times, newest first."""
        query = select(service_times).order_by(service_times.c.updated_at.desc(), service_times.c.key)
        with self._read() as connection:
            return [ServiceTimeRow(*row) for row in connection.execute(query)]

    def forecasts(self, limit: int | None = None) -> list[ForecastRow]:
        """Return what is kept of forecasts, batches that have not ended first, then the last ended."""
        query = select(forecasts).order_by(
            forecasts.c.ended_at.is_not(None), forecasts.c.ended_at.desc(), forecasts.c.batch
        )
        with self._read() as connection:
            return [rows.forecast_row(row) for row in connection.execute(query.limit(limit))]

    def audit(
        self, *, owner: str | None = None, batch: str | None = None, after: int | None = None, limit: int = 100
    ) -> list[tuple[int, AuditEntry]]:
        """Return a page of the audit trail, newest first, with numbers below `after`; each entry with its number."""
        query = select(audit).order_by(audit.c.number.desc()).limit(limit)
        for column, value in ((audit.c.owner, owner), (audit.c.batch, batch)):
            if value is not None:
                query = query.where(column == rows.storable(value))
        if after is not None:
            query = query.where(audit.c.number < after)
        with self._read() as connection:
            return [rows.audit_row(row) for row in connection.execute(query)]

    def states(self) -> dict[str, int]:
        """Return the number of batches by state."""
        query = select(batches.c.state, func.count()).group_by(batches.c.state)
        with self._read() as connection:
            return {str(state): int(count) for state, count in connection.execute(query)}
