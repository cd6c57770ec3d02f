"""Whether the coded pixels of a HEIC can be whole: libde265 decodes on where they are not, and says nothing.

HEVC has no checksum. But its units state their lengths, and none may hold two zeros that are followed by 0, 1 or 2
(ISO/IEC 23008-2, 7.4.2.2): so a part that was never written, and is zeros in the file, cannot be a picture.
"""

import re
import struct
from collections.abc import Iterator

from muniflow.images.fields import damaged
from muniflow.images.heif import Box, boxes, inner, references
from muniflow.images.heif_items import content_of, items_of, places_of

_CODED = b"hvc1"
_SHOWN_BY = frozenset({b"dimg", b"auxl"})
"""Tiles of a picture, and its alpha; thumbnails are not looked at."""
_LENGTH_SIZE_AT = 21
"""In `hvcC`: how many bytes a length has, less one."""
_FORBIDDEN = re.compile(rb"\0\0[\0-\2]")


def check_coded(data: memoryview) -> None:
    """Refuse a HEIC whose header was read and whose pixels have a hole.

    Raises:
        Rejected: damaged.
    """
    try:
        for item, coded, size in _shown(data):
            problem = _problem(coded, size)
            if problem is not None:
                damaged("heif", f"the pixels of item {item} {problem}")
    except struct.error:
        damaged("heif", "its list of places cannot be read")


def _problem(coded: bytes, size: int) -> str | None:
    place = 0
    while place < len(coded):
        length = int.from_bytes(coded[place : place + size], "big")
        place += size
        if not length or place + length > len(coded):
            return "do not end where they say"
        if (found := _FORBIDDEN.search(coded, place, place + length)) is not None:
            return f"have a hole at their byte {found.start()}"
        place += length
    return None if coded else "are not there"


def _shown(data: memoryview) -> Iterator[tuple[int, bytes, int]]:
    """Each item that the picture is made of: its number, what is coded, and how many bytes a length in it has."""
    meta = next(box for box in boxes(data, "heif", 0, len(data)) if box.kind == b"meta")
    parts = {box.kind: box for box in inner(data, "heif", meta, 4)}
    if b"iloc" not in parts or b"iinf" not in parts:
        return
    kinds = {item: name for item, name, _ in items_of(data, "heif", parts[b"iinf"])}
    places = dict(places_of(data, parts[b"iloc"]))
    size = _length_size(data, parts)
    for item in sorted(_parts_of(data, parts)):
        if kinds.get(item) == _CODED and item in places:
            yield item, content_of(data, places[item], parts.get(b"idat")), size


def _parts_of(data: memoryview, parts: dict[bytes, Box]) -> set[int]:
    place = parts[b"pitm"].start
    layout = ">I" if data[place] else ">H"
    found = {struct.unpack_from(layout, data, place + 4)[0]}
    links = list(references(data, "heif", parts[b"iref"])) if b"iref" in parts else []
    while more := {_other(link, found) for link in links if link[0] in _SHOWN_BY} - found - {None}:
        found |= more
    return found


def _other(link: tuple[bytes, int, int], found: set[int]) -> int | None:
    """What a link adds to a picture: a tile of one of its items, or the alpha that names one."""
    name, source, to = link
    known, new = (source, to) if name == b"dimg" else (to, source)
    return new if known in found else None


def _length_size(data: memoryview, parts: dict[bytes, Box]) -> int:
    listed = {box.kind: box for box in inner(data, "heif", parts[b"iprp"])}
    for box in inner(data, "heif", listed[b"ipco"]):
        if box.kind == b"hvcC" and box.end - box.start > _LENGTH_SIZE_AT:
            return (data[box.start + _LENGTH_SIZE_AT] & 3) + 1
    return 4
