"""Where a file keeps its EXIF and its XMP, and the density that its format states. Only asked where a batch wants it.

Its header was read, so the file is whole; a block that is broken counts for none.
"""

import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from muniflow.errors import Rejected
from muniflow.images.exif import EXIF_PREFIX, XMP_PREFIX
from muniflow.images.fields import ImageHeader
from muniflow.images.heif_items import metadata_items
from muniflow.images.jpeg import segments
from muniflow.images.png_text import EXIF_KEY, XMP_KEY, block_in_hexadecimal, text_of
from muniflow.images.tiff_tags import Tag, read_tags
from muniflow.images.webp import chunks, end_of_container

MAX_BLOCK_BYTES = 2**20
"""A longer block counts for none: those of cameras have at most 64 KiB."""
_APP0, _APP1, _SOS = 0xE0, 0xE1, 0xDA
_PER_INCH: Final = {1: 1.0, 2: 2.54}
"""JFIF's units: by inch, by centimetre."""
INCH_M = 0.0254

Density = tuple[float, float]
"""Dots an inch, across and down."""


@dataclass
class Blocks:
    """What a file says of itself."""

    exif: bytes | None = None
    """A TIFF structure."""
    xmp: bytes | None = None
    density: Density | None = None


def blocks_of(data: memoryview, header: ImageHeader) -> Blocks:
    """The metadata of a file whose header was read."""
    found = Blocks()
    with suppress(Rejected, struct.error):  # all that is not pixels may be broken
        match header.format:
            case "jpeg":
                _of_jpeg(data, found)
            case "png":
                _of_png(data, found)
            case "webp":
                parts = {kind: body for kind, _, body in chunks(data, end_of_container(data))}
                found.exif, found.xmp = bytes(parts.get(b"EXIF", b"")), bytes(parts.get(b"XMP ", b""))
            case "tiff":
                found.exif = bytes(data)
                at, count = read_tags(data).get(Tag.XMP, (0, 0))
                found.xmp = bytes(data[at : at + min(count, MAX_BLOCK_BYTES)])
            case "heif" | "avif":
                found.exif, found.xmp = metadata_items(data, header.format)
    return _bounded(found, whole_file=header.format == "tiff")


def _bounded(found: Blocks, *, whole_file: bool) -> Blocks:
    """Without blocks that are empty, or longer than the limit."""
    if not found.exif or (len(found.exif) > MAX_BLOCK_BYTES and not whole_file):
        found.exif = None
    found.xmp = found.xmp if found.xmp and len(found.xmp) <= MAX_BLOCK_BYTES else None
    return found


def _of_jpeg(data: memoryview, found: Blocks) -> None:
    for marker, start, end in segments(data):
        body = data[start:end]
        if marker == _SOS:
            return
        if marker == _APP1 and found.exif is None and bytes(body[: len(EXIF_PREFIX)]) == EXIF_PREFIX:
            found.exif = bytes(body[len(EXIF_PREFIX) :])
        elif marker == _APP1 and found.xmp is None and bytes(body[: len(XMP_PREFIX)]) == XMP_PREFIX:
            found.xmp = bytes(body[len(XMP_PREFIX) :])
        elif marker == _APP0 and bytes(body[:5]) == b"JFIF\0":
            unit, across, down = struct.unpack_from(">BHH", body, 7)
            if unit in _PER_INCH and across and down:
                found.density = across * _PER_INCH[unit], down * _PER_INCH[unit]


def _of_png(data: memoryview, found: Blocks) -> None:
    for kind, body in _png_chunks(data):
        match kind:
            case b"eXIf":
                found.exif = bytes(body)
            case b"pHYs":
                across, down, unit = struct.unpack(">IIB", body)
                if unit == 1 and across and down:
                    found.density = across * INCH_M, down * INCH_M
            case b"tEXt" | b"zTXt" | b"iTXt":
                for key in (EXIF_KEY, XMP_KEY):
                    if bytes(body[: len(key) + 1]) == key + b"\0":
                        text = text_of(kind, body[len(key) + 1 :])
                        if key == XMP_KEY:
                            found.xmp = text
                        else:
                            found.exif = found.exif or block_in_hexadecimal(text)


def _png_chunks(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    position = 8
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        yield kind, data[position + 8 : position + 8 + length]
        position += 12 + length
