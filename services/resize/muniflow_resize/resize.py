"""The pixels of `resize`, in memory or on an OpenCL device."""

# mypy: disable-error-code="redundant-cast"
# Each function is checked for both kinds of pixels, and for one of them OpenCV states the exact type.

from typing import cast

from muniflow.images.opencv import cv2
from muniflow.images.types import Image, Pixels
from muniflow.model.operation import Size


def resize(image: Image, target: Size) -> Image:
    """Scale `image` to `target`.

    Args:
        image: uint8 BGR, shape (H, W, 3); rows may be apart.
        target: the new size, in pixels; both sides at least 1.

    Returns:
        uint8 BGR, shape (target.height_px, target.width_px, 3); `image` itself where it has that size already.
    """
    height_px, width_px = image.shape[:2]
    return scale(image, Size(width_px, height_px), target)


def scale(image: Pixels, size: Size, target: Size) -> Pixels:
    """The same for pixels in memory or on an OpenCL device, which do not tell their `size`."""
    if size == target:
        return image
    # INTER_AREA averages source pixels, so thin lines do not alias away; but it only does so when no side grows. An
    # image that shrinks along one side and grows along the other is first shrunk, then enlarged.
    shrunk = Size(min(size.width_px, target.width_px), min(size.height_px, target.height_px))
    if size != shrunk:
        image = cast("Pixels", cv2.resize(image, shrunk, interpolation=cv2.INTER_AREA))
    if shrunk != target:
        # Cubic keeps edges sharper than linear, and rings less than Lanczos.
        image = cast("Pixels", cv2.resize(image, target, interpolation=cv2.INTER_CUBIC))
    return image
