"""Reads the orientation from EXIF or XMP. Everything else in them (places, people) is dropped at decoding.

The rules are those of Pillow's `exif_transpose`, which most tools share: any type of number counts, a prefix before the
block is skipped, and XMP is asked where EXIF has no such tag.
"""

import re
import struct
from typing import Final

from muniflow.images.fields import UPRIGHT

EXIF_PREFIX = b"Exif\0\0"
XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\0"

_ORIENTATION = 0x0112
_NUMBERS: Final = {3: "H", 4: "I", 5: "II", 6: "b", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d"}
"""TIFF's types of numbers, each with the layout of one value; a fraction has two."""
_ENTRY_BYTES = 12
_INLINE_BYTES = 4
_MAX_ENTRIES = 1024
_UPSIDE = range(1, 9)
_PREFIXES = re.compile(b"(?:Exif\0\0){1,2}")
_IN_XMP = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')


def orientation_of(block: memoryview) -> int | None:
    """The orientation that an EXIF block states, 1 to 8; 1 where it states nonsense, `None` where it states nothing.

    Args:
        block: a TIFF structure, from its byte order mark on; JPEG's prefix may come before, once or twice.
    """
    # A broken EXIF block is no reason to refuse the photograph: all viewers show such an image as it is stored.
    prefixes = _PREFIXES.match(block)
    if prefixes is not None:
        block = block[prefixes.end() :]
    try:
        return _read(block)
    except struct.error:
        return None


def orientation_in_xmp(packet: memoryview | bytes) -> int | None:
    """The same of an XMP packet."""
    match = _IN_XMP.search(packet)
    return _checked(int(match[1])) if match else None


def upright_unless(*stated: int | None) -> int:
    """The first orientation that is stated."""
    for orientation in stated:
        if orientation is not None:
            return orientation
    return UPRIGHT


def _read(block: memoryview) -> int | None:
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(block[:4]))
    if order is None:
        return None
    (start,) = struct.unpack_from(f"{order}I", block, 4)
    (entries,) = struct.unpack_from(f"{order}H", block, start)
    place = start + 2
    table = bytes(block[place : place + _ENTRY_BYTES * min(entries, _MAX_ENTRIES)])
    wanted = _ORIENTATION.to_bytes(2, "little" if order == "<" else "big")
    for at in range(0, len(table), _ENTRY_BYTES):
        if table[at : at + 2] == wanted:
            kind, count = struct.unpack_from(f"{order}HI", table, at + 2)
            return _first_number(block, order, place + at + 8, kind, count)
    return None


def _first_number(block: memoryview, order: str, place: int, kind: int, count: int) -> int:
    layout = order + _NUMBERS.get(kind, "")
    if count * struct.calcsize(layout) > _INLINE_BYTES:
        (place,) = struct.unpack_from(f"{order}I", block, place)
    values = struct.unpack_from(layout, block, place)
    if not values or not count:
        return UPRIGHT
    value, below = (*values, 1)[:2]
    return _checked(value / below if below else 0)


def _checked(value: float) -> int:
    return int(value) if value in _UPSIDE else UPRIGHT
