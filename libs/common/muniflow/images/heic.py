"""HEIC to pixels by libheif and libde265, through `pi-heif`, which decodes only. Loaded with the first HEIC."""

from typing import cast

import numpy as np

from muniflow.images.fields import damaged, quoted
from muniflow.images.hevc import check_coded
from muniflow.images.opencv import cv2
from muniflow.images.types import Image

_GRAY_WITH_ALPHA = 2


def decode_heic(data: memoryview) -> Image:
    """Decode the primary picture, turned and cropped as it says, 10 bits to 8.

    Args:
        data: the file; its header was checked.

    Returns:
        uint8 BGR, or BGRA where it has alpha, contiguous.

    Raises:
        Rejected: damaged, or of a kind that libheif does not decode.
    """
    check_coded(data)
    import pi_heif  # 10 MB of libraries that most processes never need

    pi_heif.options.DECODE_THREADS = 1  # one process per core
    pi_heif.options.THUMBNAILS = pi_heif.options.DEPTH_IMAGES = pi_heif.options.AUX_IMAGES = False
    try:
        picture = pi_heif.open_heif(bytes(data), convert_hdr_to_8bit=True, bgr_mode=True)
        pixels = np.array(picture, copy=True)  # its memory goes with it
    except (ValueError, RuntimeError, OSError, EOFError, SyntaxError) as error:
        damaged("heif", quoted(error or type(error).__name__))
    pixels = np.ascontiguousarray(pixels.reshape(*pixels.shape[:2], -1))
    if pixels.shape[2] > _GRAY_WITH_ALPHA:
        return cast("Image", pixels)
    gray, *alpha = cv2.split(pixels)
    return cast("Image", cv2.merge([gray, gray, gray, *alpha]))
