"""The header of a TIFF: its first page, and where its pixels are. Needs no numpy. BigTIFF is refused."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from muniflow.errors import Rejected
from muniflow.images.fields import ImageHeader, check_pixels, damaged, take, truncated
from muniflow.images.limits import ImageLimits

_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _SAMPLES, _KIND = 256, 257, 258, 262, 277, 254
_STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES, _TILE_WIDTH, _TILE_HEIGHT = 273, 279, 324, 325, 322, 323
_ORIENTATION, _PLANES, _CODING, _BIT_ORDER, _STRIP_ROWS, _SUBSAMPLING, _COLOUR_MAP, _JPEG_TABLES = (
    274,
    284,
    259,
    266,
    278,
    530,
    320,
    347,
)
_WANTED = frozenset(
    {_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _SAMPLES, _KIND, _STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES}
    | {
        _TILE_WIDTH,
        _TILE_HEIGHT,
        _ORIENTATION,
        _PLANES,
        _CODING,
        _BIT_ORDER,
        _STRIP_ROWS,
        _SUBSAMPLING,
        _COLOUR_MAP,
        _JPEG_TABLES,
    }
)
_TYPES: Final = {1: "B", 3: "H", 4: "I", 7: "B"}
"""Bytes, shorts, longs and plain data: the types that these tags may have."""
_MAX_ENTRIES = 4096
_MAX_BLOCKS = 2**20
_NOT_A_PAGE = 0b101
"""A reduced copy or a mask."""
_ALLOWED_PHOTOMETRIC = frozenset({0, 1, 2, 3, 6})
"""Gray both ways round, RGB, palette, YCbCr."""
_WHITE_IS_ZERO, _PALETTE, _YCBCR = 0, 3, 6
_DEEP_BITS = 16
_COLOURS = 3
_MAX_SAMPLES = 4

UNCODED, LZW, JPEG, PACKBITS = 1, 5, 7, 32773
DEFLATE = frozenset({8, 32946})
"""The number that Adobe registered, and the one before it."""
_FAX = frozenset({3, 4})
_ALLOWED_CODINGS = frozenset({UNCODED, LZW, JPEG, PACKBITS}) | DEFLATE | _FAX
"""What OpenCV's libtiff decodes, and where it, or `muniflow.images.tiff_blocks`, finds out what is damaged."""
_OTHER_CODINGS: Final = {
    2: "CCITT run lengths",
    6: "old-style JPEG",
    9: "JBIG",
    10: "JBIG",
    32766: "NeXT",
    32809: "ThunderScan",
    32908: "PixarFilm",
    32909: "PixarLog",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    34661: "JBIG",
    34676: "SGILog",
    34677: "SGILog24",
    34712: "JPEG 2000",
    34887: "LERC",
    34892: "lossy JPEG of DNG",
    34925: "LZMA",
    50000: "Zstandard",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}
_TILE_UNIT_BYTES = 1024
"""libtiff 4.7.1 takes uncompressed tiles of 8 bits only where they are a multiple of this."""

Tags = dict[int, tuple[int, ...]]


@dataclass(frozen=True)
class Block:
    """A strip or a tile: where it is in the file, and how many bytes its pixels are when decoded."""

    start: int
    length: int
    pixel_bytes: int
    whole_bytes: int
    """The same, of a last strip that was filled up to the rows of the others."""


@dataclass(frozen=True)
class TiffLayout:
    """How the pixels of the first page are stored."""

    coding: int
    reversed_bits: bool
    jpeg_tables: bytes
    """What all strips or tiles that are coded as JPEG have in common, as a JPEG without a picture."""
    blocks: tuple[Block, ...]


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
    if bits == _DEEP_BITS and _one(tags, _PHOTOMETRIC, -1) == _WHITE_IS_ZERO:
        # OpenCV does not turn it round.
        raise Rejected("the TIFF has 16 bits and counts from white; allowed: 8 bits, or counting from black")
    if _one(tags, _PHOTOMETRIC, -1) == _PALETTE and len(tags.get(_COLOUR_MAP, ())) != _COLOURS << bits:
        damaged("tiff", "its palette is missing or of a wrong size")  # libtiff would show it as gray
    _check_coding(tags)
    _check_tiles(tags, limits)
    _layout(tags, len(data))
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


def tiff_layout(data: memoryview) -> TiffLayout:
    """How the pixels of a TIFF are stored; its header was checked.

    Raises:
        Rejected: it does not say where its pixels are, or does not hold them all.
    """
    return _layout(_tags(data), len(data))


def _check_coding(tags: Tags) -> None:
    coding = _one(tags, _CODING, UNCODED)
    if coding not in _ALLOWED_CODINGS:
        raise Rejected(
            f"the pixels of the TIFF are coded as {_OTHER_CODINGS.get(coding, 'unknown')} (compression {coding}); "
            "allowed: none, LZW, Deflate, PackBits, JPEG, CCITT group 3 and 4"
        )
    if coding == JPEG and _one(tags, _BITS, 1) != 8:  # noqa: PLR2004
        raise Rejected("the TIFF is coded as JPEG and has other than 8 bits per sample; allowed: 8")
    if coding == JPEG and _one(tags, _PLANES, 1) != 2 and _one(tags, _SAMPLES, 1) not in {1, _COLOURS}:  # noqa: PLR2004
        raise Rejected("the TIFF is coded as JPEG with alpha; allowed: gray or colour")


def _check_tiles(tags: Tags, limits: ImageLimits) -> None:
    """Refuse tiles larger than any image may be, and those that libtiff does not take."""
    if not _is_tiled(tags):
        return
    width_px, height_px = _one(tags, _TILE_WIDTH, 0), _one(tags, _TILE_HEIGHT, 0)
    check_pixels(width_px, height_px, limits)
    size_bytes = _pixel_bytes(tags, width_px, height_px)
    if _one(tags, _CODING, UNCODED) == UNCODED and _one(tags, _BITS, 1) != _DEEP_BITS and size_bytes % _TILE_UNIT_BYTES:
        raise Rejected(
            f"the TIFF has uncompressed tiles of {size_bytes} bytes; allowed: multiples of {_TILE_UNIT_BYTES}, "
            "strips, or compression"
        )


def _is_tiled(tags: Tags) -> bool:
    return _TILE_WIDTH in tags or _TILE_HEIGHT in tags


def _layout(tags: Tags, size_bytes: int) -> TiffLayout:
    tiled = _is_tiled(tags)
    offsets = tags.get(_TILES if tiled else _STRIPS, ())
    lengths = tags.get(_TILE_BYTES if tiled else _STRIP_BYTES, ())
    sizes = tuple(_block_sizes(tags))
    if not len(offsets) == len(lengths) == len(sizes):
        damaged("tiff", f"it has {len(offsets)} strips or tiles, with {len(lengths)} lengths, and needs {len(sizes)}")
    if any(offset + length > size_bytes for offset, length in zip(offsets, lengths, strict=True)):
        truncated("tiff", "its pixels are beyond its end")
    return TiffLayout(
        _one(tags, _CODING, UNCODED),
        _one(tags, _BIT_ORDER, 1) == 2,  # noqa: PLR2004
        bytes(tags.get(_JPEG_TABLES, ())) if _one(tags, _CODING, UNCODED) == JPEG else b"",
        tuple(Block(offset, length, *size) for offset, length, size in zip(offsets, lengths, sizes, strict=True)),
    )


def _block_sizes(tags: Tags) -> Iterator[tuple[int, int]]:
    """Of each strip or tile, the bytes of its pixels, and of a whole one."""
    width_px, height_px = _one(tags, _WIDTH, 0), _one(tags, _HEIGHT, 0)
    tiled = _is_tiled(tags)
    across_px = _one(tags, _TILE_WIDTH, 0) if tiled else width_px
    down_px = _one(tags, _TILE_HEIGHT, 0) if tiled else min(_one(tags, _STRIP_ROWS, height_px), height_px)
    if not across_px or not down_px:
        damaged("tiff", "it has strips or tiles without pixels")
    columns, rows = -(-width_px // across_px), -(-height_px // down_px)
    planes = _one(tags, _SAMPLES, 1) if _one(tags, _PLANES, 1) == 2 else 1  # noqa: PLR2004
    if planes * rows * columns > _MAX_BLOCKS:
        damaged("tiff", f"it has {planes * rows * columns} strips or tiles; the limit is {_MAX_BLOCKS}")
    whole = _pixel_bytes(tags, across_px, down_px)
    last = whole if tiled else _pixel_bytes(tags, across_px, height_px - (rows - 1) * down_px)
    for _ in range(planes):
        yield from ((whole, whole) for _ in range((rows - 1) * columns))
        yield from ((last, whole) for _ in range(columns))


def _pixel_bytes(tags: Tags, width_px: int, rows: int) -> int:
    """Bytes of so many pixels of one plane; each row begins with a byte of its own."""
    bits, samples = _one(tags, _BITS, 1), _one(tags, _SAMPLES, 1)
    if _one(tags, _PLANES, 1) == 2:  # noqa: PLR2004
        samples = 1
    elif _one(tags, _PHOTOMETRIC, -1) == _YCBCR and samples == _COLOURS:
        across, down = (*tags.get(_SUBSAMPLING, ()), 2, 2)[:2]
        if {across, down} <= {1, 2, 4}:
            return -(-width_px // across) * -(-rows // down) * (across * down + 2)
    return -(-width_px * samples * bits // 8) * rows
