"""Between rows of the database and the records of `types`."""

import json
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any

from sqlalchemy import Row

from muniflow.model.ledger import Leaf, SettledImage
from muniflow.model.lineage import label, lineage_of
from muniflow_coordinator.state.types import BatchRow, Commit, Counts, ImageRow, NewBatch

Values = dict[str, object]


def storable(text: str) -> str:
    """Text that every database takes: PostgreSQL has no character NUL."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def new_batch_values(batch: NewBatch) -> Values:
    """The columns of a batch that comes in."""
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
        **count_values(Counts()),
    }


def changed_values(change: Commit) -> Values:
    """The columns of a batch that a commit changes."""
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
    """The columns of the counts of a batch."""
    return {"total": counts.total, "done": counts.done, "failed": counts.failed, "cancelled": counts.cancelled}


def counts_of(row: Any) -> Counts:
    """The counts of a batch."""
    return Counts(row.total, row.done, row.failed, row.cancelled)


def batch_row(row: Row[Any]) -> BatchRow:
    """A batch."""
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
    )


def image_values(batch: int, image: ImageRow) -> tuple[object, ...]:
    """The columns of an image, in the order of its table."""
    number, stem, suffix, state, run, reasons = image
    return batch, number, stem, suffix, state, run, _reasons(reasons)


def image_rows(found: Iterable[Any]) -> list[ImageRow]:
    """Images, from all columns of their table in its order: names cost more than the rest of the work."""
    return [
        ImageRow(number, stem, suffix, state, run, tuple(json.loads(reasons)) if reasons else ())
        for _, number, stem, suffix, state, run, reasons in found
    ]


def settle_values(batch: int, settled: Sequence[SettledImage]) -> tuple[list[Values], list[Values]]:
    """The parameters of the statements that settle images: of ranges that are done, and of single ones.

    A busy coordinator is told of many images in their order; a statement for each would be most of its work.
    """
    ranges: list[Values] = []
    single: list[Values] = []
    last, last_run, upper = -1, -1, {}  # type: int, int, Values
    for image in sorted(settled, key=attrgetter("image")):
        if image.state != "done" or image.reasons:
            single.append(settled_values(batch, image))
        elif image.image == last + 1 and image.run == last_run:
            last = upper["last_"] = image.image
        else:
            last, last_run = image.image, image.run
            upper = {"batch_": batch, "first_": last, "last_": last, "run_": last_run}
            ranges.append(upper)
    return ranges, single


def settled_values(batch: int, image: SettledImage) -> Values:
    """The parameters of the statement that settles an image."""
    return {
        "batch_": batch,
        "n_": image.image,
        "run_": image.run,
        "state_": image.state,
        "reasons_": _reasons(image.reasons),
    }


def _reasons(reasons: tuple[str, ...]) -> str | None:
    return json.dumps(reasons) if reasons else None


def leaf_values(batch: int, leaf: Leaf) -> Values:
    """The columns of a settled part."""
    return {
        "batch": batch,
        "n": leaf.image,
        "run": leaf.run,
        "lineage": label(leaf.lineage),
        "reason": None if leaf.reason is None else storable(leaf.reason),
        "step": leaf.step,
    }


def leaf_row(row: Row[Any]) -> Leaf:
    """A settled part."""
    return Leaf(row.n, row.run, lineage_of(row.lineage), row.reason, row.step)
