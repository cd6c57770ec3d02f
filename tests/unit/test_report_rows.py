"""The report's schema, and its rows: read in one line by pandas and duckdb, and made in constant memory."""

import csv
import io
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from tests.unit.worker.test_listing import batch

from muniflow.errors import Rejected
from muniflow.model.report import ForecastEntry, image_entry, report_chunks, report_header
from muniflow.model.report_rows import COLUMNS, RowFormat, entry_lines, rows_of
from muniflow.model.report_schema import report_schema

ROOT = Path(__file__).parents[2]
ENTRIES = [
    image_entry(0, "north/a.jpg", "done", ["out/a-0.jpg", "out/a-1.jpg"]),
    image_entry(1, 'odd "name",\n\u202f.jpg', "failed", (), ["operations[0] (resize): no"], code="image_damaged"),
    image_entry(2, "c.jpg", "cancelled"),
]


def report(entries: list[dict[str, Any]]) -> bytes:
    header = report_header(
        batch(), "partial", done=1, failed=1, cancelled=1, submitted_at=1.0, finished_at=3.5,
        forecast=ForecastEntry(2.0, 3.0, 2.5),
    )  # fmt: skip
    return b"".join(report_chunks(header, entries))


def rows(form: RowFormat, whole: bytes | None = None, size: int = 7) -> bytes:
    whole = report(ENTRIES) if whole is None else whole
    return b"".join(rows_of((whole[at : at + size] for at in range(0, len(whole), size)), form))


def test_a_report_matches_its_schema_and_the_schema_that_is_published() -> None:
    schema = report_schema()
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    validator.validate(json.loads(report(ENTRIES)))
    assert not validator.is_valid(json.loads(report([{**ENTRIES[0], "state": "burnt"}])))
    assert json.loads((ROOT / "docs/reference/report.schema.json").read_text()) == schema


@pytest.mark.parametrize("size", [1, 7, 10**6])
def test_ndjson_is_the_entries_as_they_are(size: int) -> None:
    assert [json.loads(line) for line in rows("ndjson", size=size).splitlines()] == ENTRIES
    assert rows("ndjson", report([]), size) == b""


def test_csv_has_the_same_values() -> None:
    found = list(csv.DictReader(io.StringIO(rows("csv").decode(), newline="")))
    assert tuple(found[0]) == COLUMNS
    assert [row["source"] for row in found] == [entry["source"] for entry in ENTRIES]
    assert [row["reason_code"] for row in found] == ["", "image_damaged", ""]
    assert json.loads(found[0]["outputs"]) == ENTRIES[0]["outputs"]
    assert json.loads(found[1]["reasons"]) == ENTRIES[1]["reasons"]


@pytest.mark.parametrize("form", ["ndjson", "csv"])
def test_pandas_and_duckdb_read_it_in_one_line(tmp_path: Path, form: RowFormat) -> None:
    import duckdb
    import pandas as pd  # type: ignore[import-untyped]

    file = tmp_path / f"report.{form}"
    file.write_bytes(rows(form))
    frame = pd.read_json(file, lines=True) if form == "ndjson" else pd.read_csv(file)
    assert list(frame.columns) == list(ENTRIES[0]) or form == "csv"
    assert frame[frame.state == "failed"].reason_code.tolist() == ["image_damaged"]
    table = duckdb.read_json(str(file)) if form == "ndjson" else duckdb.read_csv(str(file))
    failed = table.filter("state = 'failed'").project("source, reason_code")
    assert failed.fetchall() == [(ENTRIES[1]["source"], "image_damaged")]


def test_a_report_that_is_cut_off_or_none_is_refused() -> None:
    whole = report(ENTRIES)
    for wrong in (b"", b"{}", whole[:-3], whole[: len(whole) // 2], b"\x89PNG\n"):
        with pytest.raises(Rejected, match=r"report"):
            rows("ndjson", wrong)


@pytest.mark.parametrize("form", ["ndjson", "csv"])
def test_memory_does_not_grow_with_the_number_of_images(form: RowFormat) -> None:
    first, _, last = report(ENTRIES[:1]).partition(b"\n")
    entry = last.rpartition(b"\n], ")[0]

    def many(images: int) -> Iterator[bytes]:
        yield first + b"\n"
        for _ in range(images // 100):
            yield (entry + b",\n") * 100
        yield entry + b"\n]}\n"

    images = 40_000
    tracemalloc.start()
    assert sum(chunk.count(b"\n") for chunk in rows_of(many(images), form)) == images + 1 + (form == "csv")
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 2**20 < images * len(entry) / 4


def test_every_line_of_a_report_is_one_image() -> None:
    assert len(list(entry_lines([report(ENTRIES)]))) == len(ENTRIES)
