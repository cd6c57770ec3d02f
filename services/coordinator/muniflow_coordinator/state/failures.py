"""Failed images and letters in the database: `failure_types.FailureState`."""

import json
from collections.abc import Sequence

from sqlalchemy import ColumnElement, delete, func, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite

from muniflow_coordinator.state.failure_types import (
    ANY,
    Chosen,
    FailureGroup,
    FailureRow,
    LetterLimits,
    LetterRow,
    NewLetter,
    Place,
)
from muniflow_coordinator.state.rows import storable
from muniflow_coordinator.state.tables import batches, failure, images, letters
from muniflow_coordinator.state.writing import SqlWrites

_PLACE = (images.c.batch, images.c.reason_code, images.c.operation, images.c.n)
"""The order of the index of failures."""
_LETTER = (letters.c.number, letters.c.queue, letters.c.batch, letters.c.reason, letters.c.at, letters.c.body)


def failure_of(chosen: Chosen) -> ColumnElement[bool]:
    """Return the condition for the failures that are meant."""
    wanted: ColumnElement[bool] = failure
    for column, value in ((images.c.operation, chosen.operation), (images.c.reason_code, chosen.reason_code)):
        if value is not None:
            wanted &= column == storable(value)
    if chosen.image is not None:
        wanted &= images.c.n == chosen.image
    if chosen.batch is not None:
        return wanted & (images.c.batch == chosen.batch)
    # Names the few batches, so that the database looks up each of them in the index instead of reading all of it.
    named = select(batches.c.number).where(batches.c.failed > 0)
    if chosen.owner is not None:
        named = named.where(batches.c.owner == storable(chosen.owner))
    return wanted & images.c.batch.in_(named)


class SqlFailures(SqlWrites):
    """Reads and writes failures."""

    def drop_failures(self, batch: int, within: range, chosen: Chosen) -> int:
        """List these failures of a range of images no more; returns how many. Their images stay failed."""
        meant = failure_of(chosen._replace(batch=batch)) & images.c.n.between(within.start, within.stop - 1)
        with self._write(None) as connection:
            return connection.execute(update(images).where(meant).values(dropped=True)).rowcount

    def keep_letters(self, new: Sequence[NewLetter]) -> None:
        """Insert letters; those that are there already are not changed."""
        if not new:
            return
        dialect = postgresql if self._writer.dialect.name == "postgresql" else sqlite
        values = [letter._asdict() | {"reason": storable(letter.reason)} for letter in new]
        with self._write(None) as connection:
            connection.execute(dialect.insert(letters).on_conflict_do_nothing(), values)

    def trim_letters(self, limits: LetterLimits) -> int:
        """Delete the oldest letters, those beyond the limits of their queue; returns how many."""
        newest = letters.c.number.desc()
        place = func.row_number().over(partition_by=letters.c.queue, order_by=newest).label("place")
        size = func.sum(func.length(letters.c.body)).over(partition_by=letters.c.queue, order_by=newest).label("size")
        ranked = select(letters.c.number, place, size).subquery()
        beyond = select(ranked.c.number).where(
            (ranked.c.place > limits.max_letters) | (ranked.c.size > limits.max_bytes)
        )
        with self._write(None) as connection:
            return connection.execute(delete(letters).where(letters.c.number.in_(beyond))).rowcount

    def drop_letter(self, number: int) -> None:
        """Delete a letter."""
        with self._write(None) as connection:
            connection.execute(delete(letters).where(letters.c.number == number))

    def failures(self, chosen: Chosen, *, after: Place | None = None, limit: int = 100) -> list[FailureRow]:
        """Return a page of failed images by place, those after `after`."""
        found = select(*_PLACE).where(failure_of(chosen)).order_by(*_PLACE).limit(limit)
        if after is not None:
            found = found.where(tuple_(*_PLACE) > tuple_(*after))
        page = found.subquery()  # from the index alone; only the rows of the page are read
        same = (page.c.batch == images.c.batch) & (page.c.n == images.c.n)
        rest = (batches.c.id, batches.c.spec, images.c.stem, images.c.suffix, images.c.reasons, images.c.failed_at)
        joined = page.join(images, same).join(batches, batches.c.number == page.c.batch)
        query = select(*_PLACE, *rest).select_from(joined).order_by(*_PLACE)
        with self._read() as connection:
            return [
                FailureRow(Place(*row[:4]), *row[4:8], tuple(json.loads(row.reasons or "[]")), row.failed_at)
                for row in connection.execute(query)
            ]

    def failure_groups(self, chosen: Chosen = ANY) -> list[FailureGroup]:
        """Return how many images have failed, by batch, reason code and operation."""
        count = func.count().label("images")
        groups = select(*_PLACE[:3], count).where(failure_of(chosen)).group_by(*_PLACE[:3]).subquery()
        query = (
            select(batches.c.id, groups.c.reason_code, groups.c.operation, groups.c.images)
            .join(batches, batches.c.number == groups.c.batch)
            .order_by(groups.c.batch, groups.c.images.desc(), groups.c.reason_code, groups.c.operation)
        )
        with self._read() as connection:
            return [FailureGroup(*row) for row in connection.execute(query)]

    def letters(self, *, queue: str | None = None, after: int = 0, limit: int = 100) -> list[LetterRow]:
        """Return a page of letters by number, with numbers above `after`."""
        query = select(*_LETTER).where(letters.c.number > after).order_by(letters.c.number).limit(limit)
        if queue is not None:
            query = query.where(letters.c.queue == queue)
        with self._read() as connection:
            return [LetterRow(*row) for row in connection.execute(query)]

    def letter_counts(self) -> dict[str, int]:
        """Return the number of letters by the dead-letter queue that they were in."""
        with self._read() as connection:
            found = connection.execute(select(letters.c.queue, func.count()).group_by(letters.c.queue))
            return {str(queue): int(count) for queue, count in found}

    def letter(self, number: int) -> LetterRow | None:
        """Return a letter."""
        with self._read() as connection:
            row = connection.execute(select(*_LETTER).where(letters.c.number == number)).one_or_none()
        return None if row is None else LetterRow(*row)
