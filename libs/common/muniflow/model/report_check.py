"""A report read back, line by line: whether it is as it was written, and the digests that it has. Pure.

Nothing is believed before the last line: that seals all lines before it (`muniflow.model.report_end`).
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from muniflow.errors import Rejected
from muniflow.model.report import IMAGES_FOLLOW
from muniflow.model.report_end import is_last, seal_of
from muniflow.model.report_rows import lines_of
from muniflow.model.report_schema import ReportEntry

CHANGED = "it was changed after it was written: its lines do not have the SHA-256 in the last one"


@dataclass
class ReportReader:
    """One report, read as a stream."""

    on_problem: Callable[[str], None]
    """Told what is wrong with it; the rest is read all the same."""
    header: dict[str, Any] = field(default_factory=dict)
    """Everything but the images; known once `entries` has begun."""

    def read_header(self, line: bytes) -> None:
        """Take the first line.

        Raises:
            Rejected: it is none of a report, or cannot be read.
        """
        try:
            self.header = json.loads(line + b"]}") if line.endswith(IMAGES_FOLLOW) else {}
            str(self.header["batch_id"]), str(self.header["destination"])
        except (ValueError, KeyError, RecursionError):
            raise Rejected("not a report, or its first line is damaged") from None

    def entries(self, chunks: Iterable[bytes]) -> Iterator[ReportEntry]:
        """The images that can be read.

        Raises:
            Rejected: as `read_header`.
        """
        for number, line in self.lines(chunks):
            if (entry := self._entry(number, line)) is not None:
                yield entry

    def lines(self, chunks: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
        """The lines of the images, with their numbers, as they are; a report without images has none.

        Raises:
            Rejected: as `read_header`.
        """
        seal = hashlib.sha256(usedforsecurity=False)
        last: bytes | None = None
        for number, line in enumerate(lines_of(chunks), 1):
            if last is not None:
                self.on_problem(f"line {number}: more follows its end")
                return
            if number == 1:
                self.read_header(line)
            elif is_last(line):
                last = line
                continue
            elif line:  # a report without images has an empty one
                yield number, line
            seal.update(line + b"\n")
        self._close(last, seal.hexdigest())

    def _entry(self, number: int, line: bytes) -> ReportEntry | None:
        try:
            entry = ReportEntry.model_validate_json(line.removesuffix(b","))
        except ValidationError:
            entry = None
        if entry is None or len(entry.outputs_sha256) not in {0, len(entry.outputs)}:
            self.on_problem(f"line {number} cannot be read")
            return None
        return entry

    def _close(self, last: bytes | None, digest: str) -> None:
        if last is None:
            self.on_problem("it is cut off, or its last line is damaged")
        elif (sealed := seal_of(last)) is not None and sealed != digest:  # earlier builds sealed none
            self.on_problem(CHANGED)


def whole_header(chunks: Iterable[bytes]) -> tuple[dict[str, Any], int]:
    """Everything of a report but its images, and how many of these it has, once all of its lines were seen.

    Their entries are not read: the seal says that they are as they were written.

    Raises:
        Rejected: it is no report, it is cut off, or it was changed after it was written.
    """

    def reject(problem: str) -> None:
        raise Rejected(problem)

    reader = ReportReader(reject)
    count = sum(1 for _ in reader.lines(chunks))
    return reader.header, count
