"""The header of a WebP: its RIFF container, and the size that the bitstream states. Needs no numpy."""

import struct
from collections.abc import Iterator

from muniflow.errors import Rejected
from muniflow.images.exif import orientation_in_xmp, orientation_of, upright_unless
from muniflow.images.fields import ImageHeader, check_pixels, damaged, take, truncated, unsupported
from muniflow.images.limits import ImageLimits

MAX_CHUNKS = 1024
_RIFF_BYTES = 12
_PICTURES = frozenset({b"VP8 ", b"VP8L"})
_ANIMATED, _WITH_ALPHA = 0x02, 0x10
_STATED = {b"ICCP": 0x20, b"EXIF": 0x08, b"XMP ": 0x04}
"""Chunks that count where the canvas says with a flag that they are there, as for libwebp; of several the first."""
_LOSSLESS_ALPHA = 1 << 28
_SIDE = 0x3FFF
"""Width and height take 14 bits."""


def read_webp(data: memoryview, limits: ImageLimits, *, start_only: bool = False) -> ImageHeader:
    """Read a WebP; what follows its RIFF container is ignored. With `start_only` up to the size of its picture.

    Raises:
        Rejected: beyond a limit, truncated, damaged, or animated.
    """
    canvas: tuple[int, int] | None = None
    flags = 0
    alpha = False
    pixels: tuple[int, int] | None = None
    stated = dict.fromkeys(_STATED, (0, data[:0]))
    end = end_of_container(data)
    if end > len(data) and not start_only:
        truncated("webp", f"its container states {end} bytes, and there are {len(data)}")
    for kind, start, body in chunks(data, end):
        match kind:
            case b"VP8X":
                canvas, flags = _canvas(body)
                alpha = bool(flags & _WITH_ALPHA)
            case b"VP8 " | b"VP8L" if pixels is None:
                pixels, own_alpha = (_lossy(body), False) if kind == b"VP8 " else _lossless(body)
                alpha = alpha or own_alpha
                check_pixels(*pixels, limits)
                if start_only:
                    break
            case b"ANIM" | b"ANMF":
                unsupported("the WebP is animated; a photograph is one picture")
            case b"EXIF" | b"XMP " | b"ICCP" if flags & _STATED[kind] and not stated[kind][0]:
                stated[kind] = start, body
    if pixels is None:
        damaged("webp", "it has no pixels")
    if canvas is not None and canvas != pixels:
        damaged("webp", f"its canvas is {canvas[0]}x{canvas[1]} and its picture {pixels[0]}x{pixels[1]}")
    orientation = upright_unless(orientation_of(stated[b"EXIF"][1]), orientation_in_xmp(stated[b"XMP "][1]))
    start, profile = stated[b"ICCP"]
    return ImageHeader(
        format="webp",
        width_px=pixels[0],
        height_px=pixels[1],
        orientation=orientation,
        alpha="straight" if alpha else None,
        profile=((start, start + len(profile)),) if profile else (),
    )


def up_to_picture(data: memoryview) -> memoryview:
    """The container up to the end of its picture; its header was checked.

    If the end of a picture is missing, libwebp reads on behind it and decodes what it finds there.
    """
    end = _RIFF_BYTES
    for kind, _, body in chunks(data, end_of_container(data)):
        end += 8 + len(body) + (len(body) & 1)
        if kind in _PICTURES:
            break
    if end >= len(data):
        return data
    return memoryview(b"RIFF" + struct.pack("<I", end - 8) + data[8:end])


def end_of_container(data: memoryview) -> int:
    """Where the container ends, as it states."""
    (stated,) = take("webp", "<I", data, 4, "its header")
    return stated + 8


def chunks(data: memoryview, end: int) -> Iterator[tuple[bytes, int, memoryview]]:
    """Type, place and content of each chunk of the container; where `data` is cut, of the last one only a part."""
    position = _RIFF_BYTES
    for _ in range(MAX_CHUNKS + 1):
        if position + 8 > end:
            return
        (length,) = take("webp", "<I", data, position + 4, "a chunk")
        if position + 8 + length > end:
            truncated("webp", "it ends inside a chunk")
        yield bytes(data[position : position + 4]), position + 8, data[position + 8 : position + 8 + length]
        position += 8 + length + (length & 1)
    raise Rejected(f"the WebP has more than {MAX_CHUNKS} chunks", reason_code="image_too_large")


def _canvas(body: memoryview) -> tuple[tuple[int, int], int]:
    """Its size, and its flags."""
    flags, width_low, width_high, height_low, height_high = take("webp", "<B3xHBHB", body, 0, "its canvas")
    if flags & _ANIMATED:
        unsupported("the WebP is animated; a photograph is one picture")
    return (width_low + (width_high << 16) + 1, height_low + (height_high << 16) + 1), flags


def _lossy(body: memoryview) -> tuple[int, int]:
    frame_tag, *start, width, height = take("webp", "<B2x3BHH", body, 0, "its picture")
    if frame_tag & 1 or start != [0x9D, 0x01, 0x2A]:
        damaged("webp", "its picture does not start with a key frame")
    # The two bits above the size ask for scaling, which no decoder does.
    return width & _SIDE, height & _SIDE


def _lossless(body: memoryview) -> tuple[tuple[int, int], bool]:
    """Its size, and whether it has alpha."""
    signature, packed = take("webp", "<BI", body, 0, "its picture")
    if signature != 0x2F:  # noqa: PLR2004
        damaged("webp", "its picture has no signature")
    return ((packed & _SIDE) + 1, (packed >> 14 & _SIDE) + 1), bool(packed & _LOSSLESS_ALPHA)
