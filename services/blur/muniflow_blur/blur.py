"""The pixels of `blur`. Every method takes and gives uint8 BGR of one size; borders are mirrored as OpenCV does."""

from typing import cast

from muniflow.compute.step import Image
from muniflow.images.opencv import cv2


def gaussian(image: Image, kernel: int, sigma: float) -> Image:
    """Weighted mean over a window of `kernel` pixels, odd; `sigma` in pixels, 0 derives it from the kernel."""
    return cast("Image", cv2.GaussianBlur(image, (kernel, kernel), sigma))


def updownsampling(image: Image) -> Image:
    """Down one step of the Gaussian pyramid and up again, to the very size of `image`."""
    height_px, width_px = image.shape[:2]
    return cast("Image", cv2.pyrUp(cv2.pyrDown(image), dstsize=(width_px, height_px)))


def bilateral(image: Image, diameter: int, sigma_color: float, sigma_space: float) -> Image:
    """Mean over near pixels of like colour, so that edges stay.

    Args:
        image: uint8 BGR, shape (H, W, 3).
        diameter: of the neighbourhood, in pixels.
        sigma_color: how different pixels may be to mix, in gray levels.
        sigma_space: how far apart pixels may be to mix, in pixels.
    """
    return cast("Image", cv2.bilateralFilter(image, diameter, sigma_color, sigma_space))


def median(image: Image, kernel: int) -> Image:
    """The middle value of a window of `kernel` pixels, odd, for each channel."""
    return cast("Image", cv2.medianBlur(image, kernel))
