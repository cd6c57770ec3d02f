"""A report as NDJSON and as CSV, one row for each image: made from `report.json` as a stream, in constant memory.

Pure: from chunks of bytes to chunks of bytes. `report.json` has one image a line (`muniflow.model.report`), so each
line is looked at alone, whatever the number of images.
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Literal, get_args

from muniflow.errors import Rejected
from muniflow.model.report_end import is_last

RowFormat = Literal["ndjson", "csv"]
ROW_FORMATS: tuple[RowFormat, ...] = get_args(RowFormat)
CONTENT_TYPES: Mapping[RowFormat, str] = {"ndjson": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}
COLUMNS = (
    "image", "source", "state", "reason_code", "reasons", "outputs", "source_sha256", "outputs_sha256",
    "metadata", "source_version", "revision",
)  # fmt: skip
"""Of the CSV; reasons, outputs, their digests and metadata are JSON lists."""
CHUNK_BYTES = 256 * 1024
MAX_LINE_BYTES = 64 * 2**20
"""An image has at most some thousand outputs; what is longer is no report of ours."""


def rows_of(report: Iterable[bytes], form: RowFormat) -> Iterator[bytes]:
    """The images of a report, in chunks of lines.

    Args:
        report: `report.json`, in chunks.
        form: what each image becomes.

    Raises:
        Rejected: it is no report as muniflow writes it, or it is cut off; raised in the middle, so that nobody takes
            half of it for all.
    """
    writers: dict[RowFormat, Callable[[bytes], bytes]] = {"ndjson": lambda entry: entry + b"\n", "csv": _csv_row}
    write = writers[form]
    buffer = bytearray(_csv_line(COLUMNS) if form == "csv" else b"")
    for entry in entry_lines(report):
        buffer += write(entry)
        if len(buffer) >= CHUNK_BYTES:
            yield bytes(buffer)
            buffer.clear()
    yield bytes(buffer)


def entry_lines(report: Iterable[bytes]) -> Iterator[bytes]:
    """The entry of each image as JSON.

    Raises:
        Rejected: as `rows_of`.
    """
    lines = lines_of(report)
    if not next(lines, b"").endswith(b'"images": ['):
        raise Rejected("not a report: its first line does not end where its images begin")
    for line in lines:
        if is_last(line):
            return
        if line:  # a report without images has an empty one
            yield line.removesuffix(b",")
    raise Rejected("the report is cut off")


def lines_of(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The lines, without their ends.

    Raises:
        Rejected: one is longer than any of a report.
    """
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        if len(rest) > MAX_LINE_BYTES:
            raise Rejected("not a report: a line is too long")
        yield from whole
    if rest:
        yield rest


def _csv_row(entry: bytes) -> bytes:
    try:
        image = json.loads(entry)
        lists = (json.dumps(image[name], ensure_ascii=False) for name in ("reasons", "outputs"))
        head = (image["image"], image["source"], image["state"], image.get("reason_code") or "", *lists)
        digests = json.dumps(image.get("outputs_sha256", []))
        kept = json.dumps(image.get("metadata") or [])
        last = (image.get(name) or "" for name in ("source_version", "revision"))
        return _csv_line((*head, image.get("source_sha256") or "", digests, kept, *last))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Rejected("not a report: an entry of an image cannot be read") from None


def _csv_line(values: Iterable[object]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(values)
    return line.getvalue().encode()
