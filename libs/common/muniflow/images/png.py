"""The header of a PNG: jumps from chunk to chunk to its end. Needs no numpy."""

import zlib
from dataclasses import dataclass, field

from muniflow.errors import Rejected
from muniflow.images.exif import orientation_in_xmp, orientation_of, upright_unless
from muniflow.images.fields import ImageHeader, Mends, Space, check_pixels, damaged, take, truncated, unsupported
from muniflow.images.limits import ImageLimits
from muniflow.images.named_space import SRGB, space_of_cicp, space_of_png
from muniflow.images.png_text import EXIF_KEY, XMP_KEY, block_in_hexadecimal, text_of

MAX_CHUNKS = 2**17
"""Chunks of one file. With chunks of 8 KiB, as most encoders write them, that is 1 GiB."""
LARGE_TEXT_BYTES = 4 * 2**20
"""Larger text is left out of what libpng gets: its own limit is 8 MB, and it says only that something is wrong."""
_SIGNATURE_BYTES = 8
_HEADER_BYTES = 13
_OVERHEAD_BYTES = 12
"""Length, type and checksum of a chunk."""
_COLOUR = 2
"""The bit of the colour type that says that pixels have colours; without it they are gray."""
_ALPHA = 4
"""The bit that says that a channel of alpha follows."""
_NUMBERS = frozenset({b"cICP", b"sRGB", b"gAMA", b"cHRM"})
_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt"})


@dataclass
class _Found:
    """What the chunks have said so far."""

    orientation: int | None = None
    texts: dict[bytes, bytes] = field(default_factory=dict)
    """Those that may state an orientation, by their key."""
    has_pixels: bool = False
    dropped: list[tuple[int, int]] = field(default_factory=list)
    transparency: memoryview | None = None
    """What it says of transparency without a channel: of a palette, or one gray or colour."""
    profile: tuple[int, int] | None = None
    """Where its ICC profile is."""
    colours: dict[bytes, memoryview] = field(default_factory=dict)
    """What it says of them by numbers, by chunk."""
    end: int | None = None
    """Where its IEND belongs, when that is missing."""


def read_png(data: memoryview, limits: ImageLimits, *, start_only: bool = False) -> ImageHeader:
    """Read a PNG up to its IEND; with `start_only` up to its pixels, whose chunk may be cut.

    Raises:
        Rejected: beyond a limit, truncated, damaged, or animated (APNG).
    """
    length, kind = _chunk(data, _SIGNATURE_BYTES)
    if kind != b"IHDR" or length != _HEADER_BYTES:
        damaged("png", "it does not start with its header (IHDR)")
    width_px, height_px, bits, kind_of_colour = take("png", ">IIBB", data, _SIGNATURE_BYTES + 8, "its header")
    check_pixels(width_px, height_px, limits)
    found = _Found()
    _walk(data, found, start_only=start_only)
    key = found.transparency if kind_of_colour == 0 else None
    named = space_of_cicp(found.colours[b"cICP"]) if b"cICP" in found.colours else None  # before any profile
    mended = bool(found.dropped) or found.end is not None
    return ImageHeader(
        format="png",
        width_px=width_px,
        height_px=height_px,
        orientation=_orientation(found),
        bits=bits,
        mends=Mends(end=found.end, dropped=tuple(found.dropped)) if mended else None,
        colours="rgb" if kind_of_colour & _COLOUR else "gray",
        alpha="straight" if kind_of_colour & _ALPHA or found.transparency is not None else None,
        gray_key=int.from_bytes(key[:2], "big") if key is not None else None,
        profile=(found.profile,) if found.profile is not None and named is None else (),
        space=_space(found) if named is None else None if named == SRGB else named,
    )


def _space(found: _Found) -> Space | None:
    if b"sRGB" in found.colours:
        return None
    return space_of_png(found.colours.get(b"gAMA"), found.colours.get(b"cHRM"))


def _walk(data: memoryview, found: _Found, *, start_only: bool) -> None:
    position = _SIGNATURE_BYTES
    for _ in range(MAX_CHUNKS):
        if found.has_pixels and not start_only and _lacks_end(data, position):
            found.end = position  # libpng says whether all rows came before
            return
        length, kind = _chunk(data, position, cut=start_only)
        if kind == b"IEND" and not found.has_pixels:
            damaged("png", "it has no pixels (IDAT)")
        if kind == b"IEND" or (start_only and kind == b"IDAT"):
            return
        if kind == b"acTL":
            unsupported("the PNG is animated; a photograph is one picture")
        _note(found, data, position, length, kind)
        found.has_pixels = found.has_pixels or kind == b"IDAT"
        position += length + _OVERHEAD_BYTES
    raise Rejected(f"the PNG has more than {MAX_CHUNKS} chunks", reason_code="image_too_large")


def _note(found: _Found, data: memoryview, position: int, length: int, kind: bytes) -> None:
    """Take what a chunk says."""
    body = data[position + 8 : position + 8 + length]
    if kind == b"eXIf":
        found.orientation = orientation_of(body)
    elif kind == b"tRNS" and not found.has_pixels:
        found.transparency = body
    elif kind == b"iCCP" and found.profile is None and not found.has_pixels:
        found.profile = position + 8, position + 8 + length
    elif kind in _NUMBERS and not found.has_pixels:
        found.colours.setdefault(kind, body)
    elif kind in _TEXTS:
        _text(found, data, position, length, kind)


def _lacks_end(data: memoryview, position: int) -> bool:
    """Whether nothing but a part of an IEND is left, or nothing at all."""
    left = bytes(data[position : position + _OVERHEAD_BYTES])
    return len(left) < _OVERHEAD_BYTES and b"\0\0\0\0IEND\xae\x42\x60\x82".startswith(left)


def _chunk(data: memoryview, position: int, *, cut: bool = False) -> tuple[int, bytes]:
    """Length and type of the chunk at `position`; the pixels may be `cut`, every other chunk is whole."""
    if position == len(data):
        truncated("png", "it has no end (IEND)")
    (length,) = take("png", ">I4x", data, position, "a chunk")
    kind = bytes(data[position + 4 : position + 8])
    if position + length + _OVERHEAD_BYTES > len(data) and not (cut and kind == b"IDAT"):
        truncated("png", "it ends inside a chunk")
    return length, kind


def _text(found: _Found, data: memoryview, position: int, length: int, kind: bytes) -> None:
    body = data[position + 8 : position + 8 + length]
    if length > LARGE_TEXT_BYTES:
        (stated,) = take("png", ">I", data, position + 8 + length, "a chunk")
        if zlib.crc32(data[position + 4 : position + 8 + length]) != stated:
            damaged("png", f"a wrong checksum of its {kind.decode()} at byte {position}")
        found.dropped.append((position, position + length + _OVERHEAD_BYTES))
    for key in (EXIF_KEY, XMP_KEY):
        if bytes(body[: len(key) + 1]) == key + b"\0":
            found.texts[key] = text_of(kind, body[len(key) + 1 :])


def _orientation(found: _Found) -> int:
    stated = found.orientation
    if stated is None and EXIF_KEY in found.texts:
        stated = orientation_of(memoryview(block_in_hexadecimal(found.texts[EXIF_KEY])))
    if stated is None and XMP_KEY in found.texts:
        stated = orientation_in_xmp(found.texts[XMP_KEY])
    return upright_unless(stated)
