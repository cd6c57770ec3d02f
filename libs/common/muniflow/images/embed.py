"""What an output carries (profile, EXIF, XMP, density) put into its encoded file, as its format says.

Pure; no pixel changes.
"""

import struct
import zlib
from collections.abc import Iterator

from muniflow.images.carried import Carried
from muniflow.images.exif import EXIF_PREFIX, XMP_PREFIX
from muniflow.images.profile import JPEG_HEAD_BYTES, JPEG_PREFIX
from muniflow.model.messages import ImageFormat

_SEGMENT_BYTES = 65533
"""The longest content of a segment of a JPEG."""
_DENSITY_AT, _DENSITY_BYTES = 11, 5
"""In JFIF's segment, from its marker on: unit, across, down."""
_PNG_HEAD_BYTES = 33
"""Signature and IHDR, behind which all this goes."""
_PNG_NAME = b"ICC profile\0\0"
"""A name, and how the rest is coded: zlib."""
_PNG_XMP = b"XML:com.adobe.xmp\0\0\0\0\0"
"""Its key, not compressed, in no language."""
_INCH_M = 0.0254
_RIFF_BYTES = 12
_EXTENDED, _PROFILE_FLAG, _ALPHA_FLAG, _EXIF_FLAG, _XMP_FLAG = b"VP8X", 0x20, 0x10, 0x08, 0x04
_SIDE = 0x3FFF
"""Width and height take 14 bits."""


def carrying(data: memoryview, kind: ImageFormat, carried: Carried) -> memoryview:
    """A file that muniflow encoded as `kind`, with what it carries. WebP has no density but that in EXIF."""
    match kind:
        case "jpg":
            return memoryview(b"".join(_in_jpeg(data, carried)))
        case "png":
            return memoryview(b"".join(_in_png(data, carried)))
        case "webp":
            return memoryview(_in_webp(data, carried))


def _in_jpeg(data: memoryview, carried: Carried) -> Iterator[bytes | memoryview]:
    """Behind JFIF's segment, which comes first."""
    has_jfif = bytes(data[2:4]) == b"\xff\xe0"
    place = 4 + int.from_bytes(data[4:6], "big") if has_jfif else 2
    if has_jfif and carried.density is not None:
        start = 2 + _DENSITY_AT
        yield data[:start]
        yield struct.pack(">BHH", 1, *(min(max(round(each), 1), 0xFFFF) for each in carried.density))
        yield data[start + _DENSITY_BYTES : place]
    else:
        yield data[:place]
    for prefix, content in ((EXIF_PREFIX, carried.exif), (XMP_PREFIX, carried.xmp)):
        if content is not None:
            yield struct.pack(">HH", 0xFFE1, 2 + len(prefix) + len(content)) + prefix
            yield content
    profile = carried.profile or b""
    room = _SEGMENT_BYTES - JPEG_HEAD_BYTES
    parts = [profile[start : start + room] for start in range(0, len(profile), room)]
    for number, part in enumerate(parts, 1):
        yield struct.pack(">HH", 0xFFE2, 2 + JPEG_HEAD_BYTES + len(part)) + JPEG_PREFIX + bytes([number, len(parts)])
        yield part
    yield data[place:]


def _in_png(data: memoryview, carried: Carried) -> Iterator[bytes | memoryview]:
    yield data[:_PNG_HEAD_BYTES]
    if carried.profile is not None:
        yield _png_chunk(b"iCCP" + _PNG_NAME + zlib.compress(carried.profile))
    if carried.density is not None:
        yield _png_chunk(b"pHYs" + struct.pack(">IIB", *(round(each / _INCH_M) for each in carried.density), 1))
    if carried.exif is not None:
        yield _png_chunk(b"eXIf" + carried.exif)
    if carried.xmp is not None:
        yield _png_chunk(b"iTXt" + _PNG_XMP + carried.xmp)
    yield data[_PNG_HEAD_BYTES:]


def _png_chunk(body: bytes) -> bytes:
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))


def _in_webp(data: memoryview, carried: Carried) -> bytes:
    """In the extended form of the container, which names its size and what is in it first."""
    parts = {b"ICCP": carried.profile, b"EXIF": carried.exif, b"XMP ": carried.xmp}
    chunk = {
        kind: b"" if part is None else kind + struct.pack("<I", len(part)) + part + bytes(len(part) & 1)
        for kind, part in parts.items()
    }
    flags = dict(zip(parts, (_PROFILE_FLAG, _EXIF_FLAG, _XMP_FLAG), strict=True))
    stated = sum(flags[kind] for kind, part in parts.items() if part is not None)
    if not stated:
        return bytes(data)
    kind, rest = bytes(data[_RIFF_BYTES : _RIFF_BYTES + 4]), data[_RIFF_BYTES:]
    canvas = _canvas_of(data) if kind != _EXTENDED else bytes(rest[8:18])
    chunks = rest[18:] if kind == _EXTENDED else rest
    head = _EXTENDED + struct.pack("<I", 10) + bytes([canvas[0] | stated]) + canvas[1:]
    body: bytes = b"".join((b"WEBP", head, chunk[b"ICCP"], chunks, chunk[b"EXIF"], chunk[b"XMP "]))
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _canvas_of(data: memoryview) -> bytes:
    """The content of VP8X for a file in the simple form: flags and size."""
    place = _RIFF_BYTES + 8
    if bytes(data[_RIFF_BYTES : _RIFF_BYTES + 4]) == b"VP8L":
        (packed,) = struct.unpack_from("<I", data, place + 1)
        less_one = packed & _SIDE, packed >> 14 & _SIDE
        flags = _ALPHA_FLAG if packed >> 28 & 1 else 0
    else:
        width_px, height_px = struct.unpack_from("<HH", data, place + 6)
        less_one, flags = (width_px - 1, height_px - 1), 0
    return bytes([flags, 0, 0, 0]) + b"".join(int(side).to_bytes(3, "little") for side in less_one)
