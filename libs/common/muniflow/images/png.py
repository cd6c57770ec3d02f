"""The header of a PNG: jumps from chunk to chunk to its end. Needs no numpy."""

from muniflow.errors import Rejected
from muniflow.images.exif import orientation_of
from muniflow.images.fields import UPRIGHT, ImageHeader, check_pixels, damaged, take, truncated
from muniflow.images.limits import ImageLimits

MAX_CHUNKS = 2**17
"""Chunks of one file. With chunks of 8 KiB, as most encoders write them, that is 1 GiB."""
_SIGNATURE_BYTES = 8
_HEADER_BYTES = 13
_OVERHEAD_BYTES = 12
"""Length, type and checksum of a chunk."""


def read_png(data: memoryview, limits: ImageLimits) -> ImageHeader:
    """Read a PNG up to its IEND.

    Raises:
        Rejected: beyond a limit, truncated, damaged, or animated (APNG).
    """
    length, kind = _chunk(data, _SIGNATURE_BYTES)
    if kind != b"IHDR" or length != _HEADER_BYTES:
        damaged("png", "it does not start with its header (IHDR)")
    width_px, height_px, bits = take("png", ">IIB", data, _SIGNATURE_BYTES + 8, "its header")
    check_pixels(width_px, height_px, limits)
    orientation, has_pixels = UPRIGHT, False
    position = _SIGNATURE_BYTES
    for _ in range(MAX_CHUNKS):
        length, kind = _chunk(data, position)
        if kind == b"IEND":
            if not has_pixels:
                damaged("png", "it has no pixels (IDAT)")
            return ImageHeader(format="png", width_px=width_px, height_px=height_px, orientation=orientation, bits=bits)
        if kind == b"acTL":
            raise Rejected("the PNG is animated; a photograph is one picture")
        if kind == b"eXIf":
            orientation = orientation_of(data[position + 8 : position + 8 + length])
        has_pixels = has_pixels or kind == b"IDAT"
        position += length + _OVERHEAD_BYTES
    raise Rejected(f"the PNG has more than {MAX_CHUNKS} chunks")


def _chunk(data: memoryview, position: int) -> tuple[int, bytes]:
    """Length and type of the chunk at `position`, which is there whole."""
    if position == len(data):
        truncated("png", "it has no end (IEND)")
    (length,) = take("png", ">I4x", data, position, "a chunk")
    kind = bytes(data[position + 4 : position + 8])
    if position + length + _OVERHEAD_BYTES > len(data):
        truncated("png", "it ends inside a chunk")
    return length, kind
