"""The types of pixels."""

from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from muniflow.images.opencv import cv2

Image = NDArray[np.uint8]
"""uint8 BGR, shape (H, W, 3), or BGRA with straight alpha, (H, W, 4), where a batch keeps it.

Rows may be further apart than W * 3 or 4 bytes, pixels and channels are contiguous."""

Pixels = TypeVar("Pixels", Image, "cv2.UMat")
"""An image in this process's memory or on an OpenCL device: for functions that do the same with both."""
