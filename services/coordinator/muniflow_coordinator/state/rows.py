"""Converts between rows of the database and the records of `types`."""

import json
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any

from sqlalchemy import Row

from muniflow.forecast.grade import Forecast
from muniflow.model.audit import AuditEntry
from muniflow.model.checksums import ImageSums
from muniflow.model.ledger import Leaf, SettledImage
from muniflow.model.lineage import label, lineage_of
from muniflow.reason_codes import UNKNOWN
from muniflow_coordinator.state.learned_types import ForecastRow
from muniflow_coordinator.state.types import BatchRow, Commit, Counts, ImageRow, NewBatch

Values = dict[str, object]


def storable(text: str) -> str:
    """Return text that every database accepts: PostgreSQL does not store NUL."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def new_batch_values(batch: NewBatch) -> Values:
    """Return the columns of a new batch."""
    return {
        "id": batch.id,
        "fingerprint": batch.fingerprint,
        "spec": batch.spec,
        "municipality": storable(batch.municipality),
        "state": "intake",
        "cancelling": False,
        "weight": batch.weight,
        "destination": batch.destination,
        "submitted_at": batch.submitted_at,
        "tallies": "[]",
        "owner": batch.owner,
        "keep_days": batch.keep_days,
        **count_values(Counts()),
    }


def changed_values(change: Commit) -> Values:
    """Return the columns of a batch that a commit changes."""
    columns: Values = {
        "state": change.state,
        "cancelling": change.cancelling,
        "tallies": change.tallies,
        "finished_at": change.finished_at,
        "report": change.report,
    }
    changed = {name: value for name, value in columns.items() if value is not None}
    return changed if change.counts is None else changed | count_values(change.counts)


def count_values(counts: Counts) -> Values:
    """Return the columns of the counts of a batch."""
    return {"total": counts.total, "done": counts.done, "failed": counts.failed, "cancelled": counts.cancelled}


def counts_of(row: Any) -> Counts:
    """Return the counts of a batch."""
    return Counts(row.total, row.done, row.failed, row.cancelled)


def batch_row(row: Row[Any]) -> BatchRow:
    """Return a batch."""
    return BatchRow(
        number=row.number,
        id=row.id,
        fingerprint=row.fingerprint,
        spec=row.spec,
        municipality=row.municipality,
        state=row.state,
        cancelling=row.cancelling,
        weight=row.weight,
        destination=row.destination,
        submitted_at=row.submitted_at,
        finished_at=row.finished_at,
        report=row.report,
        counts=counts_of(row),
        tallies=row.tallies,
        owner=row.owner,
        archived_at=row.archived_at,
    )


def image_values(batch: int, image: ImageRow) -> tuple[object, ...]:
    """Return the columns of an image, in the order of its table."""
    number, stem, suffix, state, run, reasons, code, _, version, metadata, operation, failed_at = image
    said = _reasons(reasons), code, operation, failed_at, None
    return batch, number, stem, suffix, state, run, *said, version, _words(metadata)


def image_rows(found: Iterable[Any]) -> list[ImageRow]:
    """Return images from all columns of their table in order: access by name would take more time than the rest."""
    return [
        ImageRow(
            number,
            stem,
            suffix,
            state,
            run,
            tuple(json.loads(reasons)) if reasons else (),
            code,
            None,
            version,
            None if metadata is None else tuple(metadata.split(",") if metadata else ()),
        )
        for _, number, stem, suffix, state, run, reasons, code, _, _, _, version, metadata in found
    ]


def settle_values(batch: int, settled: Sequence[SettledImage], now: float) -> tuple[list[Values], list[Values]]:
    """Return the parameters of the statements that settle images: ranges of done images, and single images.

    A busy coordinator settles many images in order. One statement for each would be most of its work.
    """
    ranges: list[Values] = []
    single: list[Values] = []
    last, last_run, last_words, upper = -1, -1, None, {}  # type: int, int, str | None, Values
    for image in sorted(settled, key=attrgetter("image")):
        if image.state != "done" or image.reasons:
            single.append(settled_values(batch, image, now))
        elif (image.image, image.run, _words(image.metadata)) == (last + 1, last_run, last_words):
            last = upper["last_"] = image.image
        else:
            last, last_run, last_words = image.image, image.run, _words(image.metadata)
            upper = {"batch_": batch, "first_": last, "last_": last, "run_": last_run, "metadata_": last_words}
            ranges.append(upper)
    return ranges, single


def settled_values(batch: int, image: SettledImage, now: float) -> Values:
    """Return the parameters of the statement that settles an image."""
    return {
        "batch_": batch,
        "n_": image.image,
        "run_": image.run,
        "state_": image.state,
        "reasons_": _reasons(image.reasons),
        "reason_code_": storable(image.code or UNKNOWN) if image.state == "failed" else None,
        "operation_": (image.operation or "") if image.state == "failed" else None,
        "failed_at_": now if image.state == "failed" else None,
    }


def _reasons(reasons: tuple[str, ...]) -> str | None:
    return json.dumps(reasons) if reasons else None


def _words(metadata: tuple[str, ...] | None) -> str | None:
    return None if metadata is None else storable(",".join(metadata))


def leaf_values(batch: int, leaf: Leaf) -> Values:
    """Return the columns of a leaf."""
    return {
        "batch": batch,
        "n": leaf.image,
        "run": leaf.run,
        "lineage": label(leaf.lineage),
        "reason": None if leaf.reason is None else storable(leaf.reason),
        "step": leaf.step,
        "code": None if leaf.code is None else storable(leaf.code),
        "sums": None if leaf.sums is None else leaf.sums.pack(),
    }


def checksum_values(batch: int, images: Iterable[SettledImage | ImageRow]) -> list[tuple[object, ...]]:
    """Return the columns of the checksums of images that have any."""
    return [(batch, image.image, image.sums.pack()) for image in images if image.sums is not None]


def forecast_values(row: ForecastRow) -> Values:
    """Return the columns of a forecast."""
    known = row.forecast
    return {
        "batch": row.batch,
        "submitted_at": row.submitted_at,
        "finish_s": None if known is None else known.finish_s,
        "p50_s": None if known is None else known.p50_s,
        "p90_s": None if known is None else known.p90_s,
        "actual_s": row.actual_s,
        "ended_at": row.ended_at,
        "reopened_at": row.reopened_at,
    }


def forecast_row(row: Row[Any]) -> ForecastRow:
    """Return a forecast."""
    known = None if row.finish_s is None else Forecast(row.finish_s, row.p50_s, row.p90_s)
    return ForecastRow(row.batch, row.submitted_at, known, row.actual_s, row.ended_at, row.reopened_at)


def audit_values(entry: AuditEntry) -> Values:
    """Return the columns of an entry of the audit trail."""
    values = entry.model_dump(exclude={"v"})
    return {name: storable(value) if isinstance(value, str) else value for name, value in values.items()}


def audit_row(row: Row[Any]) -> tuple[int, AuditEntry]:
    """Return an entry of the audit trail with its number."""
    values = row._asdict()
    number = values.pop("number")
    return number, AuditEntry.model_validate(values)


def leaf_row(row: Row[Any]) -> Leaf:
    """Return a leaf."""
    sums = None if row.sums is None else ImageSums.unpack(bytes(row.sums))
    return Leaf(row.n, row.run, lineage_of(row.lineage), row.reason, row.step, row.code, sums)
