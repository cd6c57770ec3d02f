"""The header of a WebP: its RIFF container, and the size that the bitstream states. Needs no numpy."""

import struct
from collections.abc import Iterator

from muniflow.errors import Rejected
from muniflow.images.exif import orientation_of
from muniflow.images.fields import UPRIGHT, ImageHeader, check_pixels, damaged, take, truncated
from muniflow.images.limits import ImageLimits

MAX_CHUNKS = 1024
_RIFF_BYTES = 12
_PICTURES = frozenset({b"VP8 ", b"VP8L"})
_ANIMATED = 0x02
_SIDE = 0x3FFF
"""Width and height take 14 bits."""


def read_webp(data: memoryview, limits: ImageLimits) -> ImageHeader:
    """Read a WebP; what follows its RIFF container is ignored.

    Raises:
        Rejected: beyond a limit, truncated, damaged, or animated.
    """
    canvas: tuple[int, int] | None = None
    pixels: tuple[int, int] | None = None
    orientation = UPRIGHT
    for kind, body in _chunks(data):
        match kind:
            case b"VP8X":
                canvas = _canvas(body)
            case b"VP8 " | b"VP8L" if pixels is None:
                pixels = _lossy(body) if kind == b"VP8 " else _lossless(body)
                check_pixels(*pixels, limits)
            case b"ANIM" | b"ANMF":
                raise Rejected("the WebP is animated; a photograph is one picture")
            case b"EXIF":
                # Some writers put JPEG's prefix before the block.
                orientation = orientation_of(body[6:] if bytes(body[:6]) == b"Exif\0\0" else body)
    if pixels is None:
        damaged("webp", "it has no pixels")
    if canvas is not None and canvas != pixels:
        damaged("webp", f"its canvas is {canvas[0]}x{canvas[1]} and its picture {pixels[0]}x{pixels[1]}")
    return ImageHeader(format="webp", width_px=pixels[0], height_px=pixels[1], orientation=orientation)


def up_to_picture(data: memoryview) -> memoryview:
    """The container up to the end of its picture; its header was checked.

    libwebp reads on behind a picture whose end is missing, and makes pixels of what it finds there.
    """
    end = _RIFF_BYTES
    for kind, body in _chunks(data):
        end += 8 + len(body) + (len(body) & 1)
        if kind in _PICTURES:
            break
    if end >= len(data):
        return data
    return memoryview(b"RIFF" + struct.pack("<I", end - 8) + data[8:end])


def _chunks(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Type and content of each chunk of the container, which is there whole."""
    (stated,) = take("webp", "<I", data, 4, "its header")
    end = stated + 8
    if end > len(data):
        truncated("webp", f"its container states {end} bytes, and there are {len(data)}")
    position = _RIFF_BYTES
    for _ in range(MAX_CHUNKS + 1):
        if position + 8 > end:
            return
        (length,) = take("webp", "<I", data, position + 4, "a chunk")
        if position + 8 + length > end:
            truncated("webp", "it ends inside a chunk")
        yield bytes(data[position : position + 4]), data[position + 8 : position + 8 + length]
        position += 8 + length + (length & 1)
    raise Rejected(f"the WebP has more than {MAX_CHUNKS} chunks")


def _canvas(body: memoryview) -> tuple[int, int]:
    flags, width_low, width_high, height_low, height_high = take("webp", "<B3xHBHB", body, 0, "its canvas")
    if flags & _ANIMATED:
        raise Rejected("the WebP is animated; a photograph is one picture")
    return width_low + (width_high << 16) + 1, height_low + (height_high << 16) + 1


def _lossy(body: memoryview) -> tuple[int, int]:
    frame_tag, *start, width, height = take("webp", "<B2x3BHH", body, 0, "its picture")
    if frame_tag & 1 or start != [0x9D, 0x01, 0x2A]:
        damaged("webp", "its picture does not start with a key frame")
    # The two bits above the size ask for scaling, which no decoder does.
    return width & _SIDE, height & _SIDE


def _lossless(body: memoryview) -> tuple[int, int]:
    signature, packed = take("webp", "<BI", body, 0, "its picture")
    if signature != 0x2F:  # noqa: PLR2004
        damaged("webp", "its picture has no signature")
    return (packed & _SIDE) + 1, (packed >> 14 & _SIDE) + 1
