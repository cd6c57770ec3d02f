"""Which images a batch has: numbered, with their source keys and the stems of their outputs. Same on both engines.

Everything is read as a stream: a manifest of a million lines takes constant memory when `check_names=False`.
"""

from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

from muniflow.errors import Fault, Invalid, NotFound, Rejected
from muniflow.model.batch import Batch
from muniflow.model.keys import MAX_KEY_BYTES, key_problem, stem_of, stored_key_problem
from muniflow.model.messages import Task
from muniflow.model.skipped import SkippedFiles, reasons_text
from muniflow.store.by_content import images_below
from muniflow.store.places import destination_in, is_among
from muniflow.store.types import Store

MAX_FAULTS = 20
"""Faults reported at once; a wrong manifest would repeat the same one a million times."""
_BLANK = " \t\r\n\f\v"
"""What is not part of a name at the ends of a line; all other kinds of spaces may be."""
LOOKS_TOGETHER, LOOKS_IN_FLIGHT = 1000, 16
"""Named sources that are looked at: in an object store each is a round trip."""
_LINE = "manifest line"
_LINE_BYTES = MAX_KEY_BYTES + 4
"""A key, its line end and a byte order mark."""


class ImageRef(NamedTuple):
    """One image of a batch."""

    n: int
    """Its place in the batch, 0-based."""
    key: str
    """Its key in the source store."""
    stem: str
    """The key relative to the batch's `source`, without extension: `<stem>-<i>.<ext>` names the outputs."""
    version: str | None = None
    """`Blob.version` of its source; `None`: not asked for, or it is not there."""


class _Entry(NamedTuple):
    number: int
    """For its place in a fault: of the entry in the batch, or of the line in its manifest."""
    name: str
    """Key relative to the batch's `source`."""
    whole_stem: bool = False
    """Whether its outputs keep all of its name: what it ends in says nothing of a format."""
    version: str | None = None


def iter_images(
    batch: Batch,
    source: Store,
    output: Store | None = None,
    *,
    check_names: bool = True,
    skipped: SkippedFiles | None = None,
) -> Iterator[ImageRef]:
    """The images of a batch, in order.

    Take all of them before any work starts: faults are raised when the last one was read.

    Args:
        batch: a checked batch.
        source: the source store; it is read only for a manifest or a listing.
        output: the output store, where something is to be written; it is not read.
        check_names: whether to refuse two images with one output name, with memory for every stem. A caller that
            has an index of its own passes `False` and reports `same_name` faults.
        skipped: gathers the files of a listing that are not taken.

    Raises:
        Invalid: two images with one output name, no image at all, a manifest that is no text, files that are not taken
            where the batch is `strict`, or outputs that would be among the sources. A name that cannot be used is an
            image like others, which the store then refuses.
        Unavailable: the store is away.
    """
    faults: list[Fault] = []
    seen: dict[str, str] = {}
    skipped = SkippedFiles() if skipped is None else skipped
    number = 0
    entries = _checked_entries(batch, source, output, skipped)
    if batch.again == "changed" and not batch.lists_all:
        entries = _with_versions(batch, entries, source)
    for entry, given, whole_stem, version in entries:
        name = _refusable(batch, given)
        ref = ImageRef(number, batch.source + name, name if whole_stem else stem_of(name), version)
        number += 1
        if check_names and ref.stem in seen:
            faults.append(same_name(_place(batch, entry), name, seen[ref.stem]))
            if len(faults) >= MAX_FAULTS:
                break
        elif not faults:
            yield ref
        if check_names:
            seen.setdefault(ref.stem, name)
    if not number and not faults:
        faults.append(_no_images(batch, skipped))
    elif batch.strict and skipped.count:
        faults.append(Fault("source", f"strict: {_not_taken(skipped)}. Remove them, or run without `strict`"))
    if faults:
        raise Invalid(tuple(faults))


def iter_keys(batch: Batch, source: Store, output: Store) -> Iterator[str]:
    """The source keys of the images of a batch, in order; several times as fast as `iter_images`.

    Raises:
        Invalid: no image at all, a manifest that is no text, or outputs that would be among the sources.
        Unavailable: the store is away.
    """
    empty, skipped = True, SkippedFiles()
    for entry in _checked_entries(batch, source, output, skipped):
        empty = False
        yield batch.source + entry.name
    if empty:
        raise Invalid((_no_images(batch, skipped),))


def first_task(batch: Batch, ref: ImageRef, *, run: int = 0, now_s: float = 0.0) -> Task:
    """The task that starts an image; `now_s` is the unix time when it is published."""
    return Task(
        batch=batch.batch_id,
        image=ref.n,
        source=ref.key,
        stem=ref.stem,
        destination=batch.destination,
        encoding=batch.encoding,
        decode=batch.decode,
        rendering=batch.rendering,
        checksums=batch.checksums or None,
        route=batch.route,
        run=run,
        published_at=now_s,
    )


def same_name(place: str, name: str, first: str) -> Fault:
    """The fault of an image with the same output names as another one."""
    if name == first:
        return Fault(place, f"{name} is named twice")
    return Fault(place, f"{name} and {first} would have the same output names; put one of them into another folder")


def place_of(batch: Batch, n: int) -> str:
    """Where image number `n` stands in its batch document, for a fault found later."""
    return f"images[{n}]" if batch.images is not None else f"image {n} of {batch.manifest or batch.source or 'source'}"


def _checked_entries(batch: Batch, source: Store, output: Store | None, skipped: SkippedFiles) -> Iterator[_Entry]:
    """The entries; where something is to be written, checked to lie apart from it."""
    entries = _entries(batch, source, skipped)
    outputs = None if output is None else destination_in(source.location(), output.location(), batch.destination)
    return entries if outputs is None else _apart(batch, entries, outputs)


def _with_versions(batch: Batch, entries: Iterator[_Entry], source: Store) -> Iterator[_Entry]:
    """The entries with the versions of their sources, which no listing has told."""

    def version(entry: _Entry) -> str | None:
        try:
            return source.version(batch.source + _refusable(batch, entry.name))
        except Rejected:
            return None  # its image fails, and says why

    with ThreadPoolExecutor(LOOKS_IN_FLIGHT, "versions") as threads:
        while block := tuple(islice(entries, LOOKS_TOGETHER)):
            for entry, found in zip(block, threads.map(version, block), strict=True):
                yield entry._replace(version=found)


def missing(store: Store, keys: Collection[str]) -> frozenset[str]:
    """Return the keys that the store says are not there, each asked for by its name: a listing may be older.

    Raises:
        Unavailable: the store is away.
    """
    if not keys:
        return frozenset()
    with ThreadPoolExecutor(LOOKS_IN_FLIGHT, "looks") as threads:
        return frozenset(key for key, size in zip(keys, threads.map(store.size, keys), strict=True) if size is None)


def _apart(batch: Batch, entries: Iterator[_Entry], outputs: str) -> Iterator[_Entry]:
    """The entries, checked: no output replaces one, and no later batch over their folder takes outputs for sources.

    Args:
        batch: the batch.
        entries: what it names.
        outputs: its destination as a prefix of keys of the source store.

    Raises:
        Invalid: outputs would be among the sources.
    """
    listed = batch.lists_all
    if listed and is_among(outputs, batch.source):
        raise Invalid((_among(batch, f"{batch.source or 'the whole source store'} (source)"),))
    if batch.manifest is not None and batch.manifest.startswith(outputs):
        raise Invalid((_among(batch, f"{batch.manifest} (manifest)"),))
    for entry in entries:
        key = batch.source + entry.name
        if not listed and key.startswith(outputs):
            raise Invalid((_among(batch, f"{key} ({_place(batch, entry.number)})"),))
        yield entry


def _among(batch: Batch, sources: str) -> Fault:
    text = (
        f"outputs would be written to {batch.destination}/ in the output store, among the sources: {sources}. They "
        "could replace originals, and a second run would take them for sources. Name a `destination` outside of the "
        "sources, a `source` below which it does not lie, or another output store"
    )
    return Fault("destination", text)


def _entries(batch: Batch, source: Store, skipped: SkippedFiles) -> Iterator[_Entry]:
    if batch.images is not None:
        return (_Entry(index, key) for index, key in enumerate(batch.images))
    if batch.manifest is not None:
        return _manifest(batch.manifest, batch.source, source)
    return _listing(batch.source, source, skipped)


def _manifest(key: str, prefix: str, source: Store) -> Iterator[_Entry]:
    try:
        stream = source.open(key)
    except NotFound:
        raise Invalid((_no_manifest(key, prefix, source),)) from None
    with stream:
        number = 0
        while line := stream.readline(_LINE_BYTES):
            number += 1
            if len(line) >= _LINE_BYTES and not line.endswith(b"\n"):
                # The rest of an endless line is not read: it may be a picture, given as the manifest by mistake.
                raise Invalid((Fault(f"{_LINE} {number}", f"longer than a key can be ({MAX_KEY_BYTES} bytes)"),))
            if b"\0" in line:
                raise Invalid((Fault(f"{_LINE} {number}", "holds a NUL: the manifest is not text"),))
            # What is not UTF-8 names no file that can travel in a message; it is reported as missing.
            name = line.decode("utf-8-sig" if number == 1 else "utf-8", errors="backslashreplace").strip(_BLANK)
            if name:
                yield _Entry(number, name)


def _no_manifest(key: str, prefix: str, source: Store) -> Fault:
    """A manifest that is not there; keys of images are below `source`, its own is not, which is easily mixed up."""
    if prefix and source.size(prefix + key) is not None:
        text = f"{key} is not in the source store, but {prefix}{key} is: `manifest` is a whole key, not below `source`"
        return Fault("manifest", f"{text}; write {prefix}{key}")
    return Fault("manifest", f"{key} is not in the source store")


def _listing(prefix: str, source: Store, skipped: SkippedFiles) -> Iterator[_Entry]:
    for blob, known in images_below(prefix, source, skipped):
        yield _Entry(0, blob.key[len(prefix) :], not known, blob.version or None)


def _place(batch: Batch, number: int) -> str:
    if batch.images is not None:
        return f"images[{number}]"
    return "source" if batch.manifest is None else f"{_LINE} {number}"


def _refusable(batch: Batch, name: str) -> str:
    """The name of an image; one that users cannot give is changed where the store, which is laxer, would take it."""
    if key_problem(name) is None or stored_key_problem(batch.source + name) is not None:
        return name
    return f"./{name}"


def _no_images(batch: Batch, skipped: SkippedFiles) -> Fault:
    if batch.manifest is not None:
        return Fault("manifest", f"{batch.manifest} names no image")
    found = f": {_not_taken(skipped)}" if skipped.count else ""
    return Fault("source", f"no image below {batch.source or 'the root of the source store'!r}{found}")


def _not_taken(skipped: SkippedFiles) -> str:
    found = skipped.result()
    names = ", ".join(key for key, _ in found.named[:MAX_FAULTS])
    more = f" and {found.count - MAX_FAULTS} more" if found.count > MAX_FAULTS else ""
    files = "1 file is" if found.count == 1 else f"{found.count} files are"
    return f"{files} not taken: {reasons_text(found.reasons)}: {names}{more}"
