"""Fills a ledger with ended batches: many small ones, most images in middling ones, a fifth in a few large ones."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import cache
from math import gcd
from typing import NamedTuple

from sqlalchemy import Engine, create_engine, event, insert, select, text

from muniflow.model.batch import read_batch
from muniflow.model.operation import installed_operations
from muniflow_coordinator.runs.spec import write_spec
from muniflow_coordinator.state.opening import is_sqlite, open_state, parse_database_url
from muniflow_coordinator.state.tables import batches

DAY_S = 86400.0
OWNERS = ("default", "utrecht", "zwolle", "breda")
CITIES = 300
SMALL, MIDDLING = 4, 10_000
"""Images of a small and of a middling batch."""
OLDEST_DAYS = 400
"""Since the end of the first batch; the last one ends now."""
FAILED_EACH = 100
"""Every so many images of a middling or large batch one has failed."""
SUMS = bytes(range(64))
"""Checksums of a source and one output."""
IMAGES = text("""
INSERT INTO images (batch, n, stem, suffix, state, run, reasons, reason_code, operation, failed_at, version)
WITH RECURSIVE each(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM each WHERE n < :last)
SELECT :batch, n, 'photos/2026/district-' || (n / 1000) || '/IMG_' || n, '.jpg',
  CASE WHEN n % :failed_each = :failed_rest THEN 'failed' ELSE 'done' END, 0,
  CASE WHEN n % :failed_each = :failed_rest THEN '["operations[0] (resize): the JPEG is damaged"]' END,
  CASE WHEN n % :failed_each = :failed_rest THEN CASE (n / :failed_each) % 3
    WHEN 0 THEN 'image_damaged' WHEN 1 THEN 'source_missing' ELSE 'timed_out' END END,
  CASE WHEN n % :failed_each = :failed_rest THEN 'resize' END,
  CASE WHEN n % :failed_each = :failed_rest THEN :ended END,
  '245123-1790000000-9b2cf535f27731c974343645a3985328'
FROM each""")
CHECKSUMS = text("INSERT INTO checksums (batch, n, sums) SELECT batch, n, :sums FROM images WHERE batch = :batch")


class Ended(NamedTuple):
    """A batch to insert."""

    place: int
    images: int
    ended_at: float

    @property
    def id(self) -> str:
        return f"ledger-{self.place:06}"

    @property
    def owner(self) -> str:
        return OWNERS[self.place % len(OWNERS)]

    @property
    def failed(self) -> int:
        return len(range(FAILED_EACH - 1, self.images, FAILED_EACH))


def batches_of(images: int, now_s: float) -> list[Ended]:
    """So many images in batches, oldest first: the sizes are mixed."""
    large = max(images // 100, SMALL)
    sizes = [large] * (images // 5 // large)
    sizes += [MIDDLING] * ((images - sum(sizes)) * 99 // 100 // MIDDLING)
    sizes += [SMALL] * ((images - sum(sizes)) // SMALL)
    # A stride that has no factor in common with their number visits each once.
    stride = next(step for step in range(7919, 7919 + len(sizes) + 2) if gcd(step, len(sizes)) == 1)
    mixed = [sizes[place * stride % len(sizes)] for place in range(len(sizes))]
    each_s = OLDEST_DAYS * DAY_S / len(mixed)
    return [Ended(place, size, now_s - (len(mixed) - 1 - place) * each_s) for place, size in enumerate(mixed)]


def fill(database_url: str, wanted: Sequence[Ended]) -> Iterator[int]:
    """Insert what is not there yet; yields the number of images after each thousand batches and after the last."""
    with closing(open_state(database_url)):
        pass  # which makes the tables
    engine = _engine(database_url)
    with engine.connect() as connection:
        known = set(connection.execute(select(batches.c.id)).scalars())
    inserted = 0
    for first in range(0, len(wanted), 1000):
        missing = [each for each in wanted[first : first + 1000] if each.id not in known]
        for each in missing:
            _insert(engine, each)
        inserted += sum(each.images for each in missing)
        yield inserted
    engine.dispose()


def _insert(engine: Engine, new: Ended) -> None:
    with engine.begin() as connection:
        number = connection.execute(insert(batches).values(_values(new)).returning(batches.c.number)).scalar_one()
        connection.execute(
            IMAGES,
            {
                "batch": number,
                "last": new.images - 1,
                "failed_each": FAILED_EACH,
                "failed_rest": FAILED_EACH - 1,
                "ended": new.ended_at,
            },
        )
        if new.place % 2:
            connection.execute(CHECKSUMS, {"batch": number, "sums": SUMS})


@cache
def _spec() -> str:
    """As a batch of the name `{id}` has it."""
    document = (
        b'{"batch_id": "id", "source": "photos/", "destination": "out/id",'
        b' "operations": [["resize", "50%"]], "output": "jpg"}'
    )
    return write_spec(read_batch(document, installed_operations()))


def _values(new: Ended) -> dict[str, object]:
    return {
        "id": new.id,
        "fingerprint": "f" * 64,
        "spec": _spec().replace('"id"', f'"{new.id}"').replace("out/id", f"out/{new.id}"),
        "municipality": f"city-{new.place % CITIES}",
        "state": "partial" if new.failed else "done",
        "cancelling": False,
        "weight": 1,
        "destination": f"out/{new.id}",
        "submitted_at": new.ended_at - 3600,
        "finished_at": new.ended_at,
        "report": f"out/{new.id}/report.json",
        "total": new.images,
        "done": new.images - new.failed,
        "failed": new.failed,
        "cancelled": 0,
        "tallies": "[]",
        "owner": new.owner,
    }


def _engine(database_url: str) -> Engine:
    """One that does not sync: what a power cut takes is made again."""
    url = parse_database_url(database_url)
    engine = create_engine(url)
    if is_sqlite(url):
        for pragma in ("journal_mode=WAL", "synchronous=OFF", "cache_size=-200000"):
            event.listen(engine, "connect", lambda raw, _, pragma=pragma: raw.execute(f"PRAGMA {pragma}"))
    return engine
