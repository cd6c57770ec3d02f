"""The header of a TIFF: its first page. Needs no numpy. BigTIFF is refused."""

from typing import Final

from muniflow.errors import Rejected
from muniflow.images.fields import ImageHeader, check_pixels, damaged, take, truncated
from muniflow.images.limits import ImageLimits

_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _SAMPLES, _KIND = 256, 257, 258, 262, 277, 254
_STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES, _TILE_WIDTH, _TILE_HEIGHT = 273, 279, 324, 325, 322, 323
_ORIENTATION, _PLANES = 274, 284
_WANTED = frozenset(
    {_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _SAMPLES, _KIND, _STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES}
    | {_TILE_WIDTH, _TILE_HEIGHT, _ORIENTATION, _PLANES}
)
_TYPES: Final = {1: "B", 3: "H", 4: "I"}
"""Bytes, shorts and longs: the types that these tags may have."""
_MAX_ENTRIES = 4096
_MAX_BLOCKS = 2**20
_NOT_A_PAGE = 0b101
"""A reduced copy or a mask."""
_ALLOWED_PHOTOMETRIC = frozenset({0, 1, 2, 3, 6})
"""Gray both ways round, RGB, palette, YCbCr."""
_DEEP_BITS = 16
_COLOURS = 3
_MAX_SAMPLES = 4

Tags = dict[int, tuple[int, ...]]


def read_tiff(data: memoryview, limits: ImageLimits) -> ImageHeader:
    """Read the first page of a TIFF; later pages (overviews, masks) are ignored.

    Raises:
        Rejected: beyond a limit, truncated, damaged, or of a kind that is not allowed.
    """
    tags = _tags(data)
    width_px, height_px = _one(tags, _WIDTH, 0), _one(tags, _HEIGHT, 0)
    check_pixels(width_px, height_px, limits)
    if _one(tags, _KIND, 0) & _NOT_A_PAGE:
        raise Rejected("the first page of the TIFF is a reduced copy or a mask")
    bits, samples = _one(tags, _BITS, 1), _one(tags, _SAMPLES, 1)
    if not {1, 4, 8, _DEEP_BITS}.issuperset(tags.get(_BITS, (1,))) or len(set(tags.get(_BITS, (1,)))) > 1:
        raise Rejected(f"the TIFF has {bits} bits per sample; allowed: 1, 4, 8 or 16, for all samples alike")
    if _one(tags, _PHOTOMETRIC, -1) not in _ALLOWED_PHOTOMETRIC:
        raise Rejected("the colours of the TIFF are not gray, RGB, palette or YCbCr")
    if samples > (_COLOURS if bits == _DEEP_BITS else _MAX_SAMPLES):
        raise Rejected(f"the TIFF has {samples} samples per pixel; allowed: 3, or 4 of 8 bits each (with alpha)")
    if bits == _DEEP_BITS and samples > 1 and _one(tags, _PLANES, 1) != 1:
        # OpenCV reads such planes as if they were interleaved.
        raise Rejected("the TIFF has 16 bits and one plane per colour; allowed: 8 bits, or interleaved colours")
    _check_blocks(tags, len(data), limits)
    orientation = _one(tags, _ORIENTATION, 1)
    return ImageHeader(
        format="tiff",
        width_px=width_px,
        height_px=height_px,
        orientation=orientation if 1 <= orientation <= 8 else 1,  # noqa: PLR2004
        bits=bits,
    )


def _tags(data: memoryview) -> Tags:
    order = "<" if bytes(data[:2]) == b"II" else ">"
    version, start = take("tiff", f"{order}HI", data, 2, "its header")
    if version != 42:  # noqa: PLR2004
        raise Rejected("the file is a BigTIFF; allowed: TIFF")
    (entries,) = take("tiff", f"{order}H", data, start, "its first page")
    if entries > _MAX_ENTRIES:
        damaged("tiff", f"its first page has {entries} tags; the limit is {_MAX_ENTRIES}")
    tags: Tags = {}
    for number in range(entries):
        place = start + 2 + number * 12
        tag, kind, count = take("tiff", f"{order}HHI", data, place, "its first page")
        if tag in _WANTED and tag not in tags:
            tags[tag] = _values(data, order, place + 8, kind, count)
    return tags


def _values(data: memoryview, order: str, place: int, kind: int, count: int) -> tuple[int, ...]:
    if kind not in _TYPES or not 1 <= count <= _MAX_BLOCKS:
        damaged("tiff", f"a tag of type {kind} with {count} values")
    if count * {"B": 1, "H": 2, "I": 4}[_TYPES[kind]] > 4:  # noqa: PLR2004 - more do not fit the entry itself
        (place,) = take("tiff", f"{order}I", data, place, "its first page")
    return take("tiff", f"{order}{count}{_TYPES[kind]}", data, place, "its first page")


def _one(tags: Tags, tag: int, default: int) -> int:
    return tags.get(tag, (default,))[0]


def _check_blocks(tags: Tags, size_bytes: int, limits: ImageLimits) -> None:
    """Refuse a file that does not hold all its strips or tiles, and tiles larger than any image may be."""
    offsets = tags.get(_STRIPS) or tags.get(_TILES)
    lengths = tags.get(_STRIP_BYTES) or tags.get(_TILE_BYTES)
    if not offsets or not lengths or len(offsets) != len(lengths):
        damaged("tiff", "it does not say where its pixels are")
    if any(offset + length > size_bytes for offset, length in zip(offsets, lengths, strict=True)):
        truncated("tiff", "its pixels are beyond its end")
    if _TILES in tags:
        check_pixels(_one(tags, _TILE_WIDTH, 0), _one(tags, _TILE_HEIGHT, 0), limits)
