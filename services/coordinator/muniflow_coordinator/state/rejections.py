"""Refused batches in the database."""

import hashlib
import json
from itertools import zip_longest

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite

from muniflow.errors import Fault
from muniflow.model.owners import DEFAULT_OWNER
from muniflow_coordinator.state.failure_types import NewRejection, RejectionRow
from muniflow_coordinator.state.failures import SqlFailures
from muniflow_coordinator.state.rows import storable
from muniflow_coordinator.state.tables import letters, rejections

MAX_FAULTS = 10_000
"""Faults kept of one batch; a wrong list of images may repeat the same fault a million times."""
_COLUMNS = [
    rejections.c[name] for name in ("number", "batch", "municipality", "name", "at", "owner", "faults", "codes")
]


class SqlRejections(SqlFailures):
    """Reads and writes rejections."""

    def keep_rejection(self, new: NewRejection) -> None:
        """Record a rejection; one that is there already stays."""
        dialect = postgresql if self._writer.dialect.name == "postgresql" else sqlite
        faults = _faults(new.faults)
        named = [new.batch, new.message_id, faults, *([] if new.owner == DEFAULT_OWNER else [new.owner])]
        values = {
            "digest": hashlib.sha256(json.dumps(named).encode()).hexdigest(),
            "batch": _text(new.batch),
            "municipality": _text(new.municipality),
            "name": _text(new.name),
            "at": new.at,
            "owner": new.owner,
            "faults": faults,
            "codes": _codes(new.faults),
        }
        with self._write(None) as connection:
            connection.execute(dialect.insert(rejections).on_conflict_do_nothing(), [values])

    def forget_before(self, at: float) -> None:
        """Delete rejections and letters from before this unix time."""
        with self._write(None) as connection:
            for table in (rejections, letters):
                connection.execute(delete(table).where(table.c.at < at))

    def rejections(
        self,
        *,
        batch: str | None = None,
        municipality: str | None = None,
        owner: str | None = None,
        after: int | None = None,
        limit: int = 100,
    ) -> list[RejectionRow]:
        """Return a page of rejections, newest first, with numbers below `after`."""
        query = select(*_COLUMNS).order_by(rejections.c.number.desc()).limit(limit)
        wanted = {"batch": batch, "municipality": municipality, "owner": owner}
        for name, value in wanted.items():
            if value is not None:
                query = query.where(rejections.c[name] == _text(value))
        if after is not None:
            query = query.where(rejections.c.number < after)
        with self._read() as connection:
            return [
                RejectionRow(
                    number=row.number,
                    batch=row.batch,
                    municipality=row.municipality,
                    name=row.name or "",
                    at=row.at,
                    owner=row.owner,
                    faults=_read_faults(row.faults, row.codes),
                )
                for row in connection.execute(query)
            ]


def _read_faults(written: str, codes: str | None) -> tuple[Fault, ...]:
    pairs = zip_longest(json.loads(written), json.loads(codes or "[]"))
    return tuple(Fault(place, problem, code) for (place, problem), code in pairs)


def _codes(faults: tuple[Fault, ...]) -> str | None:
    """Return them beside the faults: an earlier coordinator reads pairs of place and problem."""
    codes = [fault.reason_code for fault in faults[:MAX_FAULTS]]
    return json.dumps(codes) if any(codes) else None


def _faults(faults: tuple[Fault, ...]) -> str:
    kept = [(_text(fault.place), _text(fault.problem)) for fault in faults[:MAX_FAULTS]]
    if len(faults) > MAX_FAULTS:
        kept.append(("", f"and {len(faults) - MAX_FAULTS} more faults"))
    return json.dumps(kept)


def _text(text: str) -> str:
    """Return text that every database stores: a document may contain lone surrogates."""
    return storable(text.encode("utf-8", "backslashreplace").decode())
