"""Holds the files that a report names against the digests that it has of them: sources and outputs."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal, NamedTuple, get_args

from muniflow.errors import NotFound, Rejected
from muniflow.model.report_check import ReportReader
from muniflow.model.report_schema import ReportEntry
from muniflow.store.types import Store

Kind = Literal["report", "missing", "changed", "swapped", "unreadable", "recomputed"]
KINDS: tuple[Kind, ...] = get_args(Kind)
MAX_FINDINGS = 10_000
"""Faults that are kept to be named; all are counted."""
TOGETHER = 256
"""Images whose files are looked at together."""
CHUNK_BYTES = 1 << 20


class FileFault(NamedTuple):
    """One fault."""

    kind: Kind
    what: Literal["report", "source", "output"]
    key: str
    problem: str
    image: int | None = None
    """Its place in the batch."""
    found: str | None = None
    """The actual digest, where it differs from the report's."""


@dataclass
class Checked:
    """What was looked at, and what is wrong."""

    header: dict[str, Any] = field(default_factory=dict)
    """Everything of the report but its images."""
    images: int = 0
    files: int = 0
    """Whose bytes were read."""
    unknown: int = 0
    """Outputs and sources of done images that the report has no digest of."""
    recomputed: int = 0
    """Images."""
    faults: int = 0
    findings: list[FileFault] = field(default_factory=list)
    """The first `MAX_FINDINGS` faults."""

    def add(self, finding: FileFault) -> None:
        """Count a fault, and keep it."""
        self.faults += 1
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(finding)


class _File(NamedTuple):
    image: int
    what: Literal["source", "output"]
    key: str
    digest: str | None


@dataclass(frozen=True)
class Places:
    """Where a report and its files are."""

    report: Callable[[], Iterator[bytes]]
    """Opens it; its chunks."""
    report_name: str
    folder: Store
    """Its folder, in which its outputs are."""
    source: Store | None
    """`None`: sources are not looked at."""


def verify(places: Places, on_entry: Callable[[ReportEntry], None] = lambda _entry: None) -> Checked:
    """Read everything that a report names, and compare.

    Args:
        places: where it is.
        on_entry: told each image of the report.

    Raises:
        Rejected: it is no report, or its first line is damaged.
        Unavailable: a store is away.
    """
    checked = Checked()
    reader = ReportReader(lambda text: checked.add(FileFault("report", "report", places.report_name, text)))
    with ThreadPoolExecutor(min(8, len(os.sched_getaffinity(0)))) as threads:
        entries = reader.entries(places.report())
        while some := list(islice(entries, TOGETHER)):
            checked.header = reader.header
            for entry in some:
                on_entry(entry)
            checked.images += len(some)
            files = [file for entry in some for file in _files(entry, sources=places.source is not None)]
            for finding, known in threads.map(lambda file: _look(file, places, reader.header), files):
                checked.files += 1
                checked.unknown += not known
                if finding is not None:
                    checked.add(finding)
    checked.header = reader.header
    _name_swapped(checked, places)
    return checked


def relative(key: str, header: dict[str, Any]) -> str:
    """The key of an output in the folder of its report."""
    return key.removeprefix(f"{header['destination']}/")


def digest_of(store: Store, key: str) -> str:
    """The SHA-256 of a blob, in constant memory.

    Raises:
        NotFound: it is not there.
        Rejected: it cannot be read: a link, a folder.
        Unavailable: the store is away.
    """
    whole = hashlib.sha256(usedforsecurity=False)
    with store.open(key) as stream:
        while chunk := stream.read(CHUNK_BYTES):
            whole.update(chunk)
    return whole.hexdigest()


def _files(entry: ReportEntry, *, sources: bool) -> Iterable[_File]:
    if entry.state != "done":
        return
    if sources:
        yield _File(entry.image, "source", entry.source, entry.source_sha256)
    digests: list[str | None] = [*entry.outputs_sha256] or [None] * len(entry.outputs)
    for key, digest in zip(entry.outputs, digests, strict=True):
        yield _File(entry.image, "output", key, digest)


def _look(file: _File, places: Places, header: dict[str, Any]) -> tuple[FileFault | None, bool]:
    """What is wrong with a file, and whether its digest is known."""
    store, key = places.source, file.key
    if file.what == "output" or store is None:
        store, key = places.folder, relative(file.key, header)
    known = file.digest is not None
    try:
        found = digest_of(store, key)
    except NotFound:
        return FileFault("missing", file.what, file.key, "it is not there", file.image), known
    except Rejected as error:
        return FileFault("unreadable", file.what, file.key, str(error), file.image), known
    if not known or found == file.digest:
        return None, known
    return FileFault("changed", file.what, file.key, "its bytes are others", file.image, found), known


def _name_swapped(checked: Checked, places: Places) -> None:
    """Say of changed files whether their bytes are those of another one."""
    wanted = {finding.found: "" for finding in checked.findings if finding.found is not None}
    if not wanted:
        return
    for entry in ReportReader(lambda _problem: None).entries(places.report()):
        for file in _files(entry, sources=True):
            if file.digest in wanted:
                wanted[file.digest] = wanted[file.digest] or file.key
    for place, finding in enumerate(checked.findings):
        if finding.found is not None and (other := wanted[finding.found]):
            text = f"it has the bytes of {other}"
            checked.findings[place] = finding._replace(kind="swapped", problem=text)
