"""JPEG by libjpeg-turbo itself, without OpenCV around it: the same pixels, sooner (docs/adr/0014-jpeg-decoder.md)."""

from typing import cast

import simplejpeg

from muniflow.compute.step import Image


def decode_jpeg(data: memoryview) -> Image | None:
    """Decode a whole JPEG, or `None` where OpenCV has to look at it: CMYK, or libjpeg complained of something.

    Args:
        data: the file, as contiguous bytes; its header was checked.

    Returns:
        uint8 BGR of shape (height_px, width_px, 3).
    """
    try:
        return cast("Image", simplejpeg.decode_jpeg(data, "BGR", strict=True))
    except ValueError:
        return None
