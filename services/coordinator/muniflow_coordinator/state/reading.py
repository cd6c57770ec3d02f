"""The readers of the store of state: every method may be called from any thread."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from sqlalchemy import ColumnElement, Connection, Engine, bindparam, func, literal_column, select

from muniflow.model.ledger import Leaf
from muniflow.model.messages import UNFINISHED
from muniflow_coordinator.state import rows
from muniflow_coordinator.state.db_errors import translated
from muniflow_coordinator.state.tables import batches, documents, images, leadership, leaves
from muniflow_coordinator.state.types import BatchRow, ImageRow

_MANY = 500
"""Keys in one `in (…)`."""
_FIND = select(batches).where(batches.c.id == bindparam("id_"))
_NOT_DONE = images.c.state != literal_column("'done'")
"""As the index says it: a parameter in its place would hide from the planner that the index has all such rows."""


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
        """Whether this process is still the one that writes."""
        with self._read() as connection:
            return connection.execute(select(leadership.c.epoch)).scalar_one_or_none() == self._epoch

    def holder(self) -> str:
        """Who took over last; empty, where nobody did."""
        with self._read() as connection:
            return str(connection.execute(select(leadership.c.holder)).scalar_one_or_none() or "")

    def document(self, batch: int) -> bytes | None:
        """The document of a batch that is being read; `None` where it is not kept."""
        with self._read() as connection:
            body = connection.execute(select(documents.c.body).where(documents.c.batch == batch)).scalar_one_or_none()
        return None if body is None else bytes(body)

    def find(self, batch_id: str) -> BatchRow | None:
        """A batch by its id."""
        with self._read() as connection:
            row = connection.execute(_FIND, {"id_": rows.storable(batch_id)}).one_or_none()
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
        query = select(batches).where(batches.c.state.in_(UNFINISHED)).order_by(batches.c.number)
        with self._read() as connection:
            return [rows.batch_row(row) for row in connection.execute(query)]

    def batches(
        self, *, state: str | None = None, municipality: str | None = None, after: int | None = None, limit: int = 100
    ) -> list[BatchRow]:
        """A page of batches, newest first, with numbers below `after`."""
        query = select(batches).order_by(batches.c.number.desc()).limit(limit)
        if state is not None:
            query = query.where(batches.c.state == rows.storable(state))
        if municipality is not None:
            query = query.where(batches.c.municipality == rows.storable(municipality))
        if after is not None:
            query = query.where(batches.c.number < after)
        with self._read() as connection:
            return [rows.batch_row(row) for row in connection.execute(query)]

    def images(self, batch: int, *, state: str | None = None, after: int = -1, limit: int = 1000) -> list[ImageRow]:
        """A page of images by number, with numbers above `after`."""
        query = select(images).where(images.c.batch == batch, images.c.n > after)
        if state is not None:
            wanted: ColumnElement[bool] = images.c.state == rows.storable(state)
            if state != "done":
                query = query.where(_NOT_DONE)
                # Without statistics, SQLite would rather go through all images of the batch, most of them done.
                wanted = func.unlikely(wanted) if self._sqlite else wanted
            query = query.where(wanted)
        with self._read() as connection:
            return rows.image_rows(connection.execute(query.order_by(images.c.n).limit(limit)))

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
                found += [(row, kept.get(row.image, [])) for row in rows.image_rows(result)]
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
                first, second = rows.image_rows(connection.execute(query.order_by(images.c.n).limit(2)))
                pairs.append((first, second))
        return pairs

    def states(self) -> dict[str, int]:
        """How many batches are in which state."""
        query = select(batches.c.state, func.count()).group_by(batches.c.state)
        with self._read() as connection:
            return {str(state): int(count) for state, count in connection.execute(query)}
