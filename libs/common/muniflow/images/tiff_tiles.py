"""Uncompressed tiles of a TIFF, laid out as strips where libtiff does not take them as they are."""

import struct
from collections.abc import Mapping

import numpy as np

from muniflow.images.tiff import UNCODED, TiffLayout, is_tiled, pixel_bytes, tiff_layout
from muniflow.images.tiff_tags import INTEGERS, Tag, Tags, one, read_tags

_TILE_UNIT_BYTES = 1024
"""libtiff 4.7.1 takes uncompressed tiles of 8 bits only where they are a multiple of this."""
_DEEP_BITS = 16
_YCBCR = 6
_LAYOUT_TAGS = frozenset(
    {Tag.STRIPS, Tag.STRIP_ROWS, Tag.STRIP_BYTES, Tag.TILE_WIDTH, Tag.TILE_HEIGHT, Tag.TILES, Tag.TILE_BYTES}
)
_LONG = 4
_ENTRY_BYTES = 12


def in_strips(data: memoryview) -> memoryview:
    """A TIFF, whose header and tiles were checked, as libtiff takes it: itself, or a copy with strips for its tiles."""
    tags = read_tags(data)
    if not is_tiled(tags) or one(tags, Tag.CODING, UNCODED) != UNCODED or one(tags, Tag.BITS, 1) == _DEEP_BITS:
        return data
    across_px, down_px = one(tags, Tag.TILE_WIDTH, 0), one(tags, Tag.TILE_HEIGHT, 0)
    if pixel_bytes(tags, across_px, down_px) % _TILE_UNIT_BYTES == 0:
        return data
    unit = _rows_of_unit(tags)
    if across_px % 16 or down_px % unit:  # not allowed; libtiff shall say so
        return data
    layout = tiff_layout(data)
    columns = -(-one(tags, Tag.WIDTH, 0) // across_px)
    strips = [_strip(data, tags, layout, first, columns) for first in range(0, len(layout.blocks), columns)]
    return _with_strips(data, strips, down_px)


def as_stored(data: memoryview, values: Mapping[Tag, int]) -> memoryview:
    """A copy of a TIFF with these `values` of tags that have one each."""
    order = "<" if bytes(data[:2]) == b"II" else ">"
    copy = bytearray(data)
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, start)
    for place in range(start + 2, start + 2 + count * _ENTRY_BYTES, _ENTRY_BYTES):
        tag, kind = struct.unpack_from(f"{order}HH", data, place)
        if tag in values:
            struct.pack_into(f"{order}{INTEGERS[kind]}", copy, place + 8, values[tag])
    return memoryview(copy)


def _rows_of_unit(tags: Tags) -> int:
    """Rows of pixels that are stored together: of YCbCr, those that share their colours."""
    if one(tags, Tag.PHOTOMETRIC, -1) != _YCBCR or one(tags, Tag.PLANES, 1) != 1:
        return 1
    return (*tags.get(Tag.SUBSAMPLING, ()), 2, 2)[1]


def _strip(data: memoryview, tags: Tags, layout: TiffLayout, first: int, columns: int) -> bytes:
    """The rows of the tiles from `first` on, side by side; what is right of the image is cut off."""
    unit = _rows_of_unit(tags)
    across_bytes = pixel_bytes(tags, one(tags, Tag.TILE_WIDTH, 0), unit)
    row_bytes = pixel_bytes(tags, one(tags, Tag.WIDTH, 0), unit)
    rows = one(tags, Tag.TILE_HEIGHT, 0) // unit
    strip = np.empty((rows, row_bytes), np.uint8)
    for column in range(columns):
        start = layout.blocks[first + column].start
        tile = np.frombuffer(data[start : start + rows * across_bytes], np.uint8).reshape(rows, across_bytes)
        left = column * across_bytes
        strip[:, left : left + across_bytes] = tile[:, : row_bytes - left]
    return strip.tobytes()


def _with_strips(data: memoryview, strips: list[bytes], rows: int) -> memoryview:
    """A copy of a TIFF with its strips and a new first page at its end."""
    order = "<" if bytes(data[:2]) == b"II" else ">"
    copy = bytearray(data)
    places = []
    for strip in strips:
        places.append(len(copy))
        copy += strip
    new = {Tag.STRIPS: places, Tag.STRIP_ROWS: [rows], Tag.STRIP_BYTES: [len(strip) for strip in strips]}
    entries = _other_entries(data, order)
    for tag, values in new.items():
        packed = struct.pack(f"{order}{len(values)}I", *values)
        place = packed
        if len(values) > 1:
            place = struct.pack(f"{order}I", len(copy))
            copy += packed
        entries.append(struct.pack(f"{order}HHI", tag, _LONG, len(values)) + place)
    copy += bytes(len(copy) & 1)
    struct.pack_into(f"{order}I", copy, 4, len(copy))
    entries.sort(key=lambda entry: struct.unpack_from(f"{order}H", entry))
    copy += struct.pack(f"{order}H", len(entries)) + b"".join(entries) + bytes(4)
    return memoryview(copy)


def _other_entries(data: memoryview, order: str) -> list[bytes]:
    """The entries of the first page that do not say where its pixels are."""
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, start)
    places = range(start + 2, start + 2 + count * _ENTRY_BYTES, _ENTRY_BYTES)
    entries = [bytes(data[place : place + _ENTRY_BYTES]) for place in places]
    return [entry for entry in entries if struct.unpack_from(f"{order}H", entry)[0] not in _LAYOUT_TAGS]
