"""Which images a batch has: numbered, with their source keys and the stems of their outputs. Same on both engines.

Everything is read as a stream: a manifest of a million lines takes constant memory when `check_names=False`.
"""

from collections.abc import Iterator
from typing import NamedTuple

from muniflow.errors import Fault, Invalid, NotFound
from muniflow.model.batch import Batch
from muniflow.model.keys import MAX_KEY_BYTES, key_problem, stem_of, stored_key_problem
from muniflow.model.messages import Task
from muniflow.store.places import destination_in, is_among
from muniflow.store.types import Store

EXTENSIONS = frozenset({"jpg", "jpeg", "png", "webp", "tif", "tiff"})
"""What counts as an image below `source` when the batch names none itself; others are ignored."""
MAX_FAULTS = 20
"""Faults reported at once; a wrong manifest would repeat the same one a million times."""
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


class _Entry(NamedTuple):
    place: str
    name: str | None
    """Key relative to the batch's `source`; `None` when it cannot be read."""


def iter_images(
    batch: Batch, source: Store, output: Store | None = None, *, check_names: bool = True
) -> Iterator[ImageRef]:
    """The images of a batch, in order.

    Take all of them before any work starts: faults are raised when the last one was read.

    Args:
        batch: a checked batch.
        source: the source store; it is read only for a manifest or a listing.
        output: the output store, where something is to be written; it is not read.
        check_names: whether to refuse two images with one output name, with memory for every stem. A caller that
            has an index of its own passes `False` and reports `same_name` faults.

    Raises:
        Invalid: a key that cannot be used, two images with one output name, no image at all, or outputs that would be
            among the sources.
        Unavailable: the store is away.
    """
    faults: list[Fault] = []
    seen: dict[str, str] = {}
    number = 0
    outputs = None if output is None else destination_in(source.location(), output.location(), batch.destination)
    entries = _entries(batch, source)
    for place, name in entries if outputs is None else _apart(batch, entries, outputs):
        fault = _entry_fault(batch, place, name)
        if fault is None and name is not None:
            ref = ImageRef(number, batch.source + name, stem_of(name))
            number += 1
            if check_names and ref.stem in seen:
                fault = same_name(place, name, seen[ref.stem])
            elif not faults:
                yield ref
            if check_names:
                seen.setdefault(ref.stem, name)
        if fault is not None:
            faults.append(fault)
            if len(faults) >= MAX_FAULTS:
                break
    if not number and not faults:
        faults.append(_no_images(batch))
    if faults:
        raise Invalid(tuple(faults))


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
        route=batch.route,
        run=run,
        published_at=now_s,
    )


def same_name(place: str, name: str, first: str) -> Fault:
    """The fault of an image whose outputs would have the names of another's."""
    if name == first:
        return Fault(place, f"{name} is named twice")
    return Fault(place, f"{name} and {first} would have the same output names; put one of them into another folder")


def place_of(batch: Batch, n: int) -> str:
    """Where image number `n` stands in its batch document, for a fault found later."""
    return f"images[{n}]" if batch.images is not None else f"image {n} of {batch.manifest or batch.source or 'source'}"


def _apart(batch: Batch, entries: Iterator[_Entry], outputs: str) -> Iterator[_Entry]:
    """The entries, none of which outputs can replace; nor are those taken for sources by the next batch over a folder.

    Args:
        batch: the batch.
        entries: what it names.
        outputs: its destination as a prefix of keys of the source store.

    Raises:
        Invalid: outputs would be among the sources.
    """
    listed = batch.images is None and batch.manifest is None
    if listed and is_among(outputs, batch.source):
        raise Invalid((_among(batch, f"{batch.source or 'the whole source store'} (source)"),))
    if batch.manifest is not None and batch.manifest.startswith(outputs):
        raise Invalid((_among(batch, f"{batch.manifest} (manifest)"),))
    for entry in entries:
        key = batch.source + (entry.name or "")
        if not listed and key.startswith(outputs):
            raise Invalid((_among(batch, f"{key} ({entry.place})"),))
        yield entry


def _among(batch: Batch, sources: str) -> Fault:
    text = (
        f"outputs would be written to {batch.destination}/ in the output store, among the sources: {sources}. They "
        "could replace originals, and a second run would take them for sources. Name a `destination` outside of the "
        "sources, a `source` below which it does not lie, or another output store"
    )
    return Fault("destination", text)


def _entries(batch: Batch, source: Store) -> Iterator[_Entry]:
    if batch.images is not None:
        return (_Entry(f"images[{index}]", key) for index, key in enumerate(batch.images))
    if batch.manifest is not None:
        return _manifest(batch.manifest, source)
    return _listing(batch.source, source)


def _manifest(key: str, source: Store) -> Iterator[_Entry]:
    try:
        stream = source.open(key)
    except NotFound:
        raise Invalid((Fault("manifest", f"{key} is not in the source store"),)) from None
    with stream:
        number = 0
        while line := stream.readline(_LINE_BYTES):
            number += 1
            place = f"manifest line {number}"
            if len(line) >= _LINE_BYTES and not line.endswith(b"\n"):
                # The rest of an endless line is not read: it may be a picture, given as the manifest by mistake.
                raise Invalid((Fault(place, f"longer than a key can be ({MAX_KEY_BYTES} bytes)"),))
            try:
                name = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError:
                yield _Entry(place, None)
                continue
            if name:
                yield _Entry(place, name)


def _listing(prefix: str, source: Store) -> Iterator[_Entry]:
    for blob in source.list(prefix):
        _, dot, extension = blob.key.rpartition(".")
        if dot and extension.lower() in EXTENSIONS:
            yield _Entry("source", blob.key.removeprefix(prefix))


def _entry_fault(batch: Batch, place: str, name: str | None) -> Fault | None:
    if name is None:
        return Fault(place, "not UTF-8 text")
    problem = key_problem(name) or stored_key_problem(batch.source + name)
    return None if problem is None else Fault(place, f"{name[:80]!r}: {problem}")


def _no_images(batch: Batch) -> Fault:
    if batch.manifest is not None:
        return Fault("manifest", f"{batch.manifest} names no image")
    allowed = ", ".join(sorted(EXTENSIONS))
    return Fault("source", f"no image below {batch.source or 'the root of the source store'!r} ({allowed})")
