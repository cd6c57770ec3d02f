"""The EXIF and XMP of a HEIC or AVIF: items beside its picture. Pure; its header was read."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from muniflow.images.heif import MAX_BOXES, Box, Kind, boxes, inner

_XMP_TYPE = b"application/rdf+xml"
_FILE, _IN_META = 0, 1
"""Where an item is: by places of the file, or in `idat`."""


class _Extent(NamedTuple):
    method: int
    start: int
    length: int


def metadata_items(data: memoryview, kind: Kind) -> tuple[bytes | None, bytes | None]:
    """EXIF, as a TIFF structure, and XMP; `None` where there is none, or it is in a kind of place nobody uses.

    Raises:
        Rejected: its boxes are broken.
        struct.error: the same.
    """
    meta = next((box for box in boxes(data, kind, 0, len(data)) if box.kind == b"meta"), None)
    parts = {} if meta is None else {box.kind: box for box in inner(data, kind, meta, 4)}
    if b"iinf" not in parts or b"iloc" not in parts:
        return None, None
    exif = xmp = None
    places = dict(places_of(data, parts[b"iloc"]))
    for item, name, content_type in items_of(data, kind, parts[b"iinf"]):
        wanted = name == b"Exif" or (name == b"mime" and content_type == _XMP_TYPE)
        if not wanted or item not in places:
            continue
        content = content_of(data, places[item], parts.get(b"idat"))
        if name == b"mime":
            xmp = content
        elif len(content) > 4:  # noqa: PLR2004 - how far before the structure begins
            exif = content[4 + int.from_bytes(content[:4], "big") :]
    return exif, xmp


def content_of(data: memoryview, extents: list[_Extent], idat: Box | None) -> bytes:
    """The bytes of an item; none where it is in a kind of place nobody uses."""
    content = b""
    for method, start, length in extents:
        if method not in {_FILE, _IN_META} or (method == _IN_META and idat is None):
            return b""
        first = start + (idat.start if method == _IN_META and idat is not None else 0)
        content += bytes(data[first : first + length])
    return content


def items_of(data: memoryview, kind: Kind, outer: Box) -> Iterator[tuple[int, bytes, bytes]]:
    """Number, kind and content type of each item."""
    skip = 8 if data[outer.start] else 6
    for box in inner(data, kind, outer, skip):
        version = data[box.start]
        if version < 2:  # noqa: PLR2004 - without kinds
            continue
        layout = ">I2x4s" if version > 2 else ">H2x4s"  # noqa: PLR2004
        item, name = struct.unpack_from(layout, data, box.start + 4)
        _, _, rest = bytes(data[box.start + 4 + struct.calcsize(layout) : box.end]).partition(b"\0")
        yield item, name, rest.partition(b"\0")[0]


def places_of(data: memoryview, box: Box) -> Iterator[tuple[int, list[_Extent]]]:
    """Where each item is, as `iloc` says.

    Raises:
        struct.error: it is broken.
    """
    version, sizes, more = data[box.start], data[box.start + 4], data[box.start + 5]
    widths = sizes >> 4, sizes & 15, more >> 4, more & 15 if version else 0
    number = 4 if version == 2 else 2  # noqa: PLR2004
    place = box.start + 6

    def take(count: int) -> int:
        nonlocal place
        if place + count > box.end:
            raise struct.error("a list of places that is cut")
        value = int.from_bytes(data[place : place + count], "big")
        place += count
        return value

    for _ in range(min(take(number), MAX_BOXES)):
        item = take(number)
        method = take(2) & 15 if version else _FILE
        take(2)
        base = take(widths[2])
        extents = []
        for _ in range(min(take(2), MAX_BOXES)):
            take(widths[3])
            start = take(widths[0])
            extents.append(_Extent(method, base + start, take(widths[1])))
        yield item, extents
