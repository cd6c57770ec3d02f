"""The header of a TIFF: its first page, and where its pixels are. Needs no numpy. BigTIFF is refused."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from muniflow.images.exif import orientation_in_xmp, upright_unless
from muniflow.images.fields import UPRIGHT, Alpha, ImageHeader, check_pixels, damaged, truncated, unsupported
from muniflow.images.limits import ImageLimits
from muniflow.images.tiff_tags import MAX_VALUES, Tag, Tags, one, read_tags

_NOT_A_PAGE = 0b101
"""A reduced copy or a mask."""
_ALLOWED_PHOTOMETRIC = frozenset({0, 1, 2, 3, 6})
"""Gray (0 is white, or black), RGB, palette, YCbCr."""
_WHITE_IS_ZERO, _RGB, _PALETTE, _YCBCR = 0, 2, 3, 6
_ALPHAS: Final[dict[int, Alpha]] = {1: "multiplied", 2: "straight"}
"""What it may say of a fourth sample; else it is a band of its own, such as near infrared."""
_GRAY = frozenset({_WHITE_IS_ZERO, 1})
_DEEP_BITS = 16
_COLOURS = 3
_MAX_SAMPLES = 4

UNCODED, LZW, JPEG, PACKBITS = 1, 5, 7, 32773
DEFLATE = frozenset({8, 32946})
"""The number that Adobe registered, and the one before it."""
_FAX = frozenset({3, 4})
_ALLOWED_CODINGS = frozenset({UNCODED, LZW, JPEG, PACKBITS}) | DEFLATE | _FAX
"""Codings that OpenCV's libtiff decodes, and in which it or `muniflow.images.tiff_blocks` detects damage."""
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
    tags = read_tags(data)
    width_px, height_px = one(tags, Tag.WIDTH, 0), one(tags, Tag.HEIGHT, 0)
    check_pixels(width_px, height_px, limits)
    if one(tags, Tag.KIND, 0) & _NOT_A_PAGE:
        unsupported("the first page of the TIFF is a reduced copy or a mask")
    bits, samples = one(tags, Tag.BITS, 1), one(tags, Tag.SAMPLES, 1)
    if not {1, 4, 8, _DEEP_BITS}.issuperset(tags.get(Tag.BITS, (1,))) or len(set(tags.get(Tag.BITS, (1,)))) > 1:
        unsupported(f"the TIFF has {bits} bits per sample; allowed: 1, 4, 8 or 16, for all samples alike")
    if one(tags, Tag.PHOTOMETRIC, -1) not in _ALLOWED_PHOTOMETRIC:
        unsupported("the colours of the TIFF are not gray, RGB, palette or YCbCr")
    if samples > _MAX_SAMPLES:
        unsupported(f"the TIFF has {samples} samples per pixel; allowed: 3, or 4 (with alpha, or near infrared)")
    if bits == _DEEP_BITS and samples > 1 and one(tags, Tag.PLANES, 1) != 1:
        # OpenCV reads such planes as if they were interleaved.
        unsupported("the TIFF has 16 bits and one plane per colour; allowed: 8 bits, or interleaved colours")
    if bits == _DEEP_BITS and one(tags, Tag.PHOTOMETRIC, -1) == _WHITE_IS_ZERO:
        # OpenCV does not turn it round.
        unsupported("the TIFF has 16 bits and counts from white; allowed: 8 bits, or counting from black")
    if one(tags, Tag.PHOTOMETRIC, -1) == _PALETTE and len(tags.get(Tag.COLOUR_MAP, ())) != _COLOURS << bits:
        damaged("tiff", "its palette is missing or of a wrong size")  # libtiff would show it as gray
    _check_coding(tags)
    _check_tiles(tags, limits)
    _layout(tags, len(data))
    return ImageHeader(
        format="tiff",
        width_px=width_px,
        height_px=height_px,
        orientation=_orientation(tags, data),
        bits=bits,
        decoder_turns=Tag.ORIENTATION in tags and not is_tiled(tags),
        colours="gray" if one(tags, Tag.PHOTOMETRIC, -1) in _GRAY else "rgb",
        samples=samples,
        alpha=_alpha(tags),
        profile=_profile(tags, len(data)),
    )


def _orientation(tags: Tags, data: memoryview) -> int:
    if Tag.ORIENTATION in tags:
        orientation = one(tags, Tag.ORIENTATION, UPRIGHT)
        return orientation if 1 <= orientation <= 8 else UPRIGHT  # noqa: PLR2004
    start, length = tags.get(Tag.XMP, (0, 0))
    return upright_unless(orientation_in_xmp(data[start : start + length]))


def _alpha(tags: Tags) -> Alpha | None:
    if one(tags, Tag.PHOTOMETRIC, -1) != _RGB or one(tags, Tag.SAMPLES, 1) != _MAX_SAMPLES:
        return None
    extra = tags.get(Tag.EXTRA_SAMPLES, ())
    return _ALPHAS.get(extra[0]) if len(extra) == 1 else None


def _profile(tags: Tags, size_bytes: int) -> tuple[tuple[int, int], ...]:
    start, length = tags.get(Tag.PROFILE, (0, 0))
    return ((start, start + length),) if length and start + length <= size_bytes else ()


def tiff_layout(data: memoryview) -> TiffLayout:
    """How the pixels of a TIFF are stored; its header was checked.

    Raises:
        Rejected: it does not say where its pixels are, or does not hold them all.
    """
    return _layout(read_tags(data), len(data))


def _check_coding(tags: Tags) -> None:
    coding = one(tags, Tag.CODING, UNCODED)
    if coding not in _ALLOWED_CODINGS:
        unsupported(
            f"the pixels of the TIFF are coded as {_OTHER_CODINGS.get(coding, 'unknown')} (compression {coding}); "
            "allowed: none, LZW, Deflate, PackBits, JPEG, CCITT group 3 and 4"
        )
    if coding == JPEG and one(tags, Tag.BITS, 1) != 8:  # noqa: PLR2004
        unsupported("the TIFF is coded as JPEG and has other than 8 bits per sample; allowed: 8")
    if coding == JPEG and one(tags, Tag.PLANES, 1) != 2 and one(tags, Tag.SAMPLES, 1) not in {1, _COLOURS}:  # noqa: PLR2004
        unsupported("the TIFF is coded as JPEG with alpha; allowed: gray or colour")


def _check_tiles(tags: Tags, limits: ImageLimits) -> None:
    """Refuse tiles larger than any image may be."""
    if is_tiled(tags):
        check_pixels(one(tags, Tag.TILE_WIDTH, 0), one(tags, Tag.TILE_HEIGHT, 0), limits)


def is_tiled(tags: Tags) -> bool:
    """Whether the page has tiles; strips otherwise."""
    return Tag.TILE_WIDTH in tags or Tag.TILE_HEIGHT in tags


def _layout(tags: Tags, size_bytes: int) -> TiffLayout:
    tiled = is_tiled(tags)
    offsets = tags.get(Tag.TILES if tiled else Tag.STRIPS, ())
    lengths = tags.get(Tag.TILE_BYTES if tiled else Tag.STRIP_BYTES, ())
    sizes = tuple(_block_sizes(tags))
    if not len(offsets) == len(lengths) == len(sizes):
        damaged("tiff", f"it has {len(offsets)} strips or tiles, with {len(lengths)} lengths, and needs {len(sizes)}")
    if any(offset + length > size_bytes for offset, length in zip(offsets, lengths, strict=True)):
        truncated("tiff", "its pixels are beyond its end")
    return TiffLayout(
        one(tags, Tag.CODING, UNCODED),
        one(tags, Tag.BIT_ORDER, 1) == 2,  # noqa: PLR2004
        bytes(tags.get(Tag.JPEG_TABLES, ())) if one(tags, Tag.CODING, UNCODED) == JPEG else b"",
        tuple(Block(offset, length, *size) for offset, length, size in zip(offsets, lengths, sizes, strict=True)),
    )


def _block_sizes(tags: Tags) -> Iterator[tuple[int, int]]:
    """For each strip or tile: the bytes of its pixels, and those of a full-size one."""
    width_px, height_px = one(tags, Tag.WIDTH, 0), one(tags, Tag.HEIGHT, 0)
    tiled = is_tiled(tags)
    across_px = one(tags, Tag.TILE_WIDTH, 0) if tiled else width_px
    down_px = one(tags, Tag.TILE_HEIGHT, 0) if tiled else min(one(tags, Tag.STRIP_ROWS, height_px), height_px)
    if not across_px or not down_px:
        damaged("tiff", "it has strips or tiles without pixels")
    columns, rows = -(-width_px // across_px), -(-height_px // down_px)
    planes = one(tags, Tag.SAMPLES, 1) if one(tags, Tag.PLANES, 1) == 2 else 1  # noqa: PLR2004
    if planes * rows * columns > MAX_VALUES:
        damaged("tiff", f"it has {planes * rows * columns} strips or tiles; the limit is {MAX_VALUES}")
    whole = pixel_bytes(tags, across_px, down_px)
    last = whole if tiled else pixel_bytes(tags, across_px, height_px - (rows - 1) * down_px)
    for _ in range(planes):
        yield from ((whole, whole) for _ in range((rows - 1) * columns))
        yield from ((last, whole) for _ in range(columns))


def pixel_bytes(tags: Tags, width_px: int, rows: int) -> int:
    """Bytes of so many pixels of one plane; each row begins with a byte of its own."""
    bits, samples = one(tags, Tag.BITS, 1), one(tags, Tag.SAMPLES, 1)
    if one(tags, Tag.PLANES, 1) == 2:  # noqa: PLR2004
        samples = 1
    elif one(tags, Tag.PHOTOMETRIC, -1) == _YCBCR and samples == _COLOURS:
        across, down = (*tags.get(Tag.SUBSAMPLING, ()), 2, 2)[:2]
        if {across, down} <= {1, 2, 4}:
            return -(-width_px // across) * -(-rows // down) * (across * down + 2)
    return -(-width_px * samples * bits // 8) * rows
