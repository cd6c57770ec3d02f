"""JPEG by libjpeg-turbo itself, without OpenCV around it: the same pixels, sooner (docs/adr/0014-jpeg-decoder.md)."""

from typing import cast

import simplejpeg

from muniflow.compute.step import Image
from muniflow.operation import Size

REDUCED_FROM_PX = 16
"""The shortest side of an image that is decoded smaller here. It is told sizes and not factors, and libjpeg knows every
eighth: of fewer pixels, two factors may make the same size."""


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
    try:
        # It takes the smallest of its scales that is at least this large.
        pixels = simplejpeg.decode_jpeg(
            data, "BGR", min_height=height_px, min_width=width_px, min_factor=factor, strict=True
        )
    except ValueError:
        return None
    return cast("Image", pixels)
