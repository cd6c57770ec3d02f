"""JPEG by libjpeg-turbo itself, without OpenCV around it: the same pixels, sooner (docs/adr/0014-jpeg-decoder.md)."""

from math import gcd
from typing import cast

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from muniflow.images.opencv import cv2
from muniflow.images.types import Image
from muniflow.model.operation import Size

REDUCED_FROM_PX = 16
"""The shortest side of an image that is decoded smaller here. The decoder takes sizes, not factors, and libjpeg scales
by every eighth: for smaller images two factors may give the same size."""
STREAMED_BYTES = 32
"""With AVX2, libjpeg-turbo writes a row that begins at a multiple of this around the CPU's cache (its
`jdcolext-avx2.asm`), and the next step fetches it from memory: 1.8 times the time for a resize of 512 px."""


def decode_jpeg(data: memoryview, size: Size, factor: int = 1) -> Image | None:
    """Decode a JPEG, or `None` where OpenCV has to: CMYK, tiny ones that shrink, and what libjpeg complained of.

    Args:
        data: the file, as contiguous bytes; its header was checked.
        size: what the header states.
        factor: decode to 1/factor of that, rounded up: 1, 2, 4 or 8.

    Returns:
        uint8 BGR of shape (height_px, width_px, 3).
    """
    if factor > 1 and min(size) < REDUCED_FROM_PX:
        return None
    width_px, height_px = (-(-side_px // factor) for side_px in size)
    memory = _cached_rows(height_px, width_px * 3)
    try:
        # It takes the smallest of its scales that is at least this large.
        pixels = simplejpeg.decode_jpeg(
            data, "BGR", min_height=height_px, min_width=width_px, min_factor=factor, strict=True, buffer=memory
        )
    except ValueError:
        return None
    return cast("Image", pixels)


def decode_inks(data: memoryview, size: Size, factor: int = 1) -> Image:
    """Decode a JPEG that has CMYK, and that OpenCV decodes, too: what libjpeg complains of is harmless.

    Args:
        data: like those of `decode_jpeg`.
        size: the same.
        factor: the same.

    Returns:
        uint8 of shape (height_px, width_px, 4), as Adobe writes it: 255 is no ink.
    """
    width_px, height_px = (-(-side_px // factor) for side_px in size)
    tiny = factor > 1 and min(size) < REDUCED_FROM_PX
    least = {} if tiny else {"min_height": height_px, "min_width": width_px, "min_factor": factor}
    inks = simplejpeg.decode_jpeg(data, "CMYK", **least, strict=False)
    return cast("Image", cv2.resize(inks, (width_px, height_px), interpolation=cv2.INTER_AREA) if tiny else inks)


def jpeg_complaint(data: memoryview) -> str | None:
    """What libjpeg complains of first when it decodes all of `data`; its header was checked."""
    try:
        # An eighth of the size costs least: all coefficients are read, and few pixels are made.
        simplejpeg.decode_jpeg(data, "GRAY", min_height=1, min_width=1, min_factor=8, strict=True)
    except ValueError as error:
        return str(error)
    return None


def _cached_rows(rows: int, row_bytes: int) -> NDArray[np.uint8]:
    """New memory in which no row begins where it would be streamed (with an odd `row_bytes`, one in 32 does)."""
    size_bytes = rows * row_bytes
    memory = np.empty(size_bytes + STREAMED_BYTES, np.uint8)
    wanted = gcd(row_bytes, STREAMED_BYTES) // 2
    skip = (wanted - memory.ctypes.data) % STREAMED_BYTES
    return memory[skip : skip + size_bytes]
