"""The pixels of `resize`."""

from typing import cast

from muniflow.compute.step import Image
from muniflow.images.opencv import cv2
from muniflow.operation import Size


def resize(image: Image, target: Size) -> Image:
    """Scale `image` to `target`.

    Args:
        image: uint8 BGR, shape (H, W, 3); rows may be apart.
        target: the new size, in pixels; both sides at least 1.

    Returns:
        uint8 BGR, shape (target.height_px, target.width_px, 3); `image` itself where it has that size already.
    """
    height_px, width_px = image.shape[:2]
    if (width_px, height_px) == target:
        return image
    # INTER_AREA averages source pixels, so thin lines do not alias away; but it only does so when no side grows. An
    # image that shrinks along one side and grows along the other is first shrunk, then enlarged.
    shrunk = Size(min(width_px, target.width_px), min(height_px, target.height_px))
    if (width_px, height_px) != shrunk:
        image = cast("Image", cv2.resize(image, shrunk, interpolation=cv2.INTER_AREA))
    if shrunk != target:
        # Cubic keeps edges sharper than linear, and rings less than Lanczos.
        image = cast("Image", cv2.resize(image, target, interpolation=cv2.INTER_CUBIC))
    return image
