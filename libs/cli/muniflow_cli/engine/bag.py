"""Writes the report and the files of a batch as a bag (BagIt, RFC 8493), each held against the report on its way."""

import hashlib
import importlib.util
import logging
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from muniflow import __version__
from muniflow.errors import Fault, Invalid, NotFound, Rejected
from muniflow.model.checksums import ALGORITHM
from muniflow.model.keys import REPORT
from muniflow.model.report_check import ReportReader
from muniflow.model.report_schema import ReportEntry
from muniflow.store.types import Store
from muniflow_cli.engine.verify import CHUNK_BYTES, Places, relative

OUTPUTS, SOURCES = "outputs", "sources"
"""Folders of a bag below `data/`."""


class BagSize(NamedTuple):
    """What is in a bag, beside its manifests."""

    files: int
    bytes: int


def write_bag(places: Places, out: Path) -> BagSize:
    """Write a bag at `out`, whole or not at all.

    Raises:
        Invalid: `bagit` is not installed, `out` is there, or the report or one of its files is not as the report says.
        Unavailable: a store is away.
    """
    if importlib.util.find_spec("bagit") is None:
        raise Invalid((Fault("bagit", "is not installed here: pip install 'muniflow-cli[bags]'"),))
    if out.exists():
        raise Invalid((Fault(str(out), "is there already: name a new folder"),))
    out.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=".muniflow-", dir=out.parent))
    try:
        header, size = _copy(places, part)
        _make_bag(part, header)
        part.chmod(0o755)
        part.rename(out)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return size


def _copy(places: Places, part: Path) -> tuple[dict[str, Any], BagSize]:
    """Copy everything; returns the report without its images."""
    size = _copy_report(places, part / OUTPUTS / REPORT)
    problems: list[str] = []
    reader = ReportReader(problems.append)
    files = 1
    for entry in reader.entries(places.report()):
        for store, key, target, digest in _wanted(entry, places, part, reader):
            size += _copy_file(store, key, target, digest)
            files += 1
    if problems:
        raise Invalid(tuple(Fault(places.report_name, problem) for problem in problems[:20]))
    return reader.header, BagSize(files, size)


def _wanted(
    entry: ReportEntry, places: Places, part: Path, reader: ReportReader
) -> list[tuple[Store, str, Path, str | None]]:
    """Of one image: from which store, which key, where to, and the digest that it should have."""
    if entry.state != "done":
        return []
    digests: list[str | None] = [*entry.outputs_sha256] or [None] * len(entry.outputs)
    names = [relative(key, reader.header) for key in entry.outputs]
    found = [
        (places.folder, name, _inside(part / OUTPUTS, name), digest)
        for name, digest in zip(names, digests, strict=True)
    ]
    if places.source is not None:
        target = _inside(part / SOURCES, entry.source)
        found.append((places.source, entry.source, target, entry.source_sha256))
    return found


def _inside(folder: Path, name: str) -> Path:
    """A place in a folder; a report that was made up must not name another one."""
    if name.startswith("/") or ".." in name.split("/"):
        raise Invalid((Fault(name, "names a place outside of the bag"),))
    return folder / name


def _copy_report(places: Places, target: Path) -> int:
    target.parent.mkdir(parents=True)
    with target.open("wb") as file:
        return sum(file.write(chunk) for chunk in places.report())


def _copy_file(store: Store, key: str, target: Path, digest: str | None) -> int:
    target.parent.mkdir(parents=True, exist_ok=True)
    whole, size_bytes = hashlib.sha256(usedforsecurity=False), 0
    try:
        with store.open(key) as stream, target.open("xb") as file:
            while chunk := stream.read(CHUNK_BYTES):
                whole.update(chunk)
                size_bytes += file.write(chunk)
    except (NotFound, Rejected, FileExistsError) as error:
        raise Invalid((Fault(key, f"cannot be put into the bag: {error}"),)) from None
    if digest is not None and whole.hexdigest() != digest:
        raise Invalid((Fault(key, "its bytes are not those of the report: see `muniflow verify`"),))
    return size_bytes


def _make_bag(folder: Path, header: dict[str, Any]) -> None:
    import bagit  # type: ignore[import-untyped]

    logging.getLogger("bagit").setLevel(logging.WARNING)
    info = {
        "External-Identifier": header["batch_id"],
        "Source-Organization": header.get("municipality") or "",
        "Bag-Software-Agent": f"muniflow {__version__}",
    }
    bagit.make_bag(str(folder), {name: value for name, value in info.items() if value}, checksums=[ALGORITHM])
