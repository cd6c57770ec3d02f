"""The tags of the first page of a TIFF. Needs no numpy."""

import struct
from collections.abc import Mapping
from enum import IntEnum
from typing import Final

from muniflow.images.fields import damaged, take, unsupported


class Tag(IntEnum):
    """The tags that are looked at."""

    KIND = 254
    WIDTH = 256
    HEIGHT = 257
    BITS = 258
    CODING = 259
    PHOTOMETRIC = 262
    BIT_ORDER = 266
    STRIPS = 273
    ORIENTATION = 274
    SAMPLES = 277
    STRIP_ROWS = 278
    STRIP_BYTES = 279
    PLANES = 284
    COLOUR_MAP = 320
    TILE_WIDTH = 322
    TILE_HEIGHT = 323
    TILES = 324
    TILE_BYTES = 325
    EXTRA_SAMPLES = 338
    JPEG_TABLES = 347
    SUBSAMPLING = 530
    XMP = 700
    PROFILE = 34675


_WANTED = frozenset(Tag)
_TYPES: Final = {1: "B", 3: "H", 4: "I", 7: "B"}
"""Bytes, shorts, longs and plain data: the types that these tags may have."""
_SIGNED_TYPES: Final = {6: "b", 8: "h", 9: "i"}
"""Further ones of an orientation; libtiff follows it in these, too."""
INTEGERS: Final = _TYPES | _SIGNED_TYPES
_MAX_ENTRIES = 4096
MAX_VALUES = 2**20
"""Values of one tag: so many strips or tiles a page may have."""

Tags = dict[int, tuple[int, ...]]


def read_tags(data: memoryview) -> Tags:
    """The tags of the first page that are wanted.

    Raises:
        Rejected: truncated, damaged, or a BigTIFF.
    """
    order = "<" if bytes(data[:2]) == b"II" else ">"
    version, start = take("tiff", f"{order}HI", data, 2, "its header")
    if version != 42:  # noqa: PLR2004
        unsupported("the file is a BigTIFF; allowed: TIFF")
    (entries,) = take("tiff", f"{order}H", data, start, "its first page")
    if entries > _MAX_ENTRIES:
        damaged("tiff", f"its first page has {entries} tags; the limit is {_MAX_ENTRIES}")
    tags: Tags = {}
    for number in range(entries):
        place = start + 2 + number * 12
        (tag,) = take("tiff", f"{order}H", data, place, "its first page")
        if tag in {Tag.XMP, Tag.PROFILE}:
            # Where it is; a broken one is no reason to refuse the picture.
            count, at = take("tiff", f"{order}II", data, place + 4, "its first page")
            tags[tag] = at, count
        elif tag in _WANTED and tag not in tags:
            types = INTEGERS if tag == Tag.ORIENTATION else _TYPES
            tags[tag] = _values(data, order, place, types)
    return tags


def _values(data: memoryview, order: str, place: int, types: Mapping[int, str]) -> tuple[int, ...]:
    kind, count = take("tiff", f"{order}HI", data, place + 2, "its first page")
    place += 8
    if kind not in types or not 1 <= count <= MAX_VALUES:
        damaged("tiff", f"a tag of type {kind} with {count} values")
    if count * struct.calcsize(types[kind]) > 4:  # noqa: PLR2004 - more do not fit the entry itself
        (place,) = take("tiff", f"{order}I", data, place, "its first page")
    return take("tiff", f"{order}{count}{types[kind]}", data, place, "its first page")


def one(tags: Tags, tag: int, default: int) -> int:
    """The first value of a tag."""
    return tags.get(tag, (default,))[0]
