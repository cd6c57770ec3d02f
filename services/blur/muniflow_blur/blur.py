"""The pixels of `blur`. Every method takes and gives uint8 BGR of one size; borders are mirrored as OpenCV does.

Each serves pixels in memory and pixels on an OpenCL device.
"""

# mypy: disable-error-code="redundant-cast"
# Each function is checked for both kinds of pixels, and for one of them OpenCV states the exact type.

from typing import cast

from muniflow.images.opencv import cv2
from muniflow.images.types import Pixels
from muniflow.model.operation import Size


def gaussian(image: Pixels, kernel: int, sigma: float) -> Pixels:
    """Weighted mean over a window of `kernel` pixels, odd; `sigma` in pixels, 0 derives it from the kernel."""
    return cast("Pixels", cv2.GaussianBlur(image, (kernel, kernel), sigma))


def updownsampling(image: Pixels, size: Size) -> Pixels:
    """Down one step of the Gaussian pyramid and up again, to the very size of `image`, which is `size`."""
    return cast("Pixels", cv2.pyrUp(cv2.pyrDown(image), dstsize=size))


def bilateral(image: Pixels, diameter: int, sigma_color: float, sigma_space: float) -> Pixels:
    """Mean over near pixels of like colour, so that edges stay.

    Args:
        image: uint8 BGR, shape (H, W, 3).
        diameter: of the neighbourhood, in pixels.
        sigma_color: how different pixels may be to mix, in gray levels.
        sigma_space: how far apart pixels may be to mix, in pixels.
    """
    return cast("Pixels", cv2.bilateralFilter(image, diameter, sigma_color, sigma_space))


def median(image: Pixels, kernel: int) -> Pixels:
    """The middle value of a window of `kernel` pixels, odd, for each channel."""
    return cast("Pixels", cv2.medianBlur(image, kernel))
