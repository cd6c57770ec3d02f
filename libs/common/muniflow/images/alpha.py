"""Alpha: laid over a background, or kept as a fourth channel and never mixed into colours that nobody sees."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np

from muniflow.images.opencv import cv2
from muniflow.images.types import Image, Pixels

WITH_ALPHA = 4
"""Channels of an image that keeps its alpha: BGRA."""
OPAQUE = 255
_ALPHA = 3
"""Its place among the channels."""
MASK_SHARE = 0.5
"""At least so much of a TIFF's fourth band is 0 or 255 where it is alpha. In near infrared, few pixels are."""
_STRIP_ROWS = 256
_FAINTEST = 1e-3
"""Of 255: nobody sees what has less alpha, and colours can be divided by this."""


def over(image: Image, background: tuple[int, int, int]) -> Image:
    """Lay BGRA over a background, given as R, G, B.

    Returns:
        uint8 BGR, contiguous: to the nearest of (colour x alpha + background x (255 - alpha)) / 255.
    """
    made = np.empty((*image.shape[:2], 3), np.uint8)
    under = np.array(background[::-1], np.uint16)
    for top in range(0, len(image), _STRIP_ROWS):
        strip = image[top : top + _STRIP_ROWS].astype(np.uint16)
        alpha = strip[:, :, 3:]
        made[top : top + _STRIP_ROWS] = (strip[:, :, :3] * alpha + under * (OPAQUE - alpha) + 127) // OPAQUE
    return made


def straight(image: Image) -> Image:
    """BGRA whose colours were multiplied by their alpha, with its colours as they were; black where it is 0."""
    made = np.empty_like(image)
    for top in range(0, len(image), _STRIP_ROWS):
        strip = image[top : top + _STRIP_ROWS].astype(np.uint16)
        alpha = strip[:, :, 3:]
        colours = (strip[:, :, :3] * OPAQUE + alpha // 2) // np.maximum(alpha, 1)
        made[top : top + _STRIP_ROWS, :, :3] = np.minimum(np.where(alpha == 0, 0, colours), OPAQUE)
    made[:, :, 3] = image[:, :, 3]
    return made


def is_mask(alpha: Image) -> bool:
    """Whether a band that a TIFF calls alpha is one."""
    ends = np.count_nonzero(alpha == 0) + np.count_nonzero(alpha == OPAQUE)
    return bool(ends >= MASK_SHARE * alpha.size)


def mixed(image: Pixels, mix: Callable[[Pixels], Pixels]) -> Pixels:
    """Run a filter that mixes pixels on BGRA: each weighs as much as its alpha, so hidden colours never show.

    Args:
        image: uint8 BGRA.
        mix: a linear filter for any number of channels of uint8 or float32.

    Returns:
        uint8 BGRA. Between, colours are float32, one plane at a time.
    """
    alpha: Any = cv2.extractChannel(image, _ALPHA)
    if cv2.minMaxLoc(alpha)[0] == OPAQUE:
        return mix(image)
    weight: Any = mix(cv2.multiply(alpha, cast("Any", 1.0), dtype=cv2.CV_32F))
    mixed_alpha: Any = cv2.multiply(weight, cast("Any", 1.0), dtype=cv2.CV_8U)
    weight = cv2.max(weight, cast("Any", _FAINTEST), weight)
    made: list[Any] = []
    for channel in range(_ALPHA):
        plane: Any = cv2.multiply(cast("Any", cv2.extractChannel(image, channel)), alpha, dtype=cv2.CV_32F)
        plane = mix(plane)
        made.append(cv2.divide(plane, weight, dtype=cv2.CV_8U))
    return cast("Pixels", cv2.merge([*made, mixed_alpha]))


def aside(image: Pixels, run: Callable[[Pixels], Pixels]) -> Pixels:
    """Run a filter on the colours of BGRA alone; alpha stays as it is."""
    *colours, alpha = _planes(image)
    made: Any = run(cast("Pixels", cv2.merge(colours)))
    return cast("Pixels", cv2.merge([*_planes(made), alpha]))


def picked(image: Pixels, pick: Callable[[Pixels], Pixels]) -> Pixels:
    """Run a filter that picks values, as a median, on BGRA: where alpha is 0 it finds black and no hidden colour."""
    *colours, alpha = _planes(image)
    seen: Any = cv2.threshold(alpha, 0, OPAQUE, cv2.THRESH_BINARY)[1]
    shown: list[Any] = [cv2.bitwise_and(colour, seen) for colour in colours]
    return pick(cast("Pixels", cv2.merge([*shown, alpha])))


def _planes(image: Any) -> list[Any]:
    """The channels of pixels in memory or on a device."""
    return list(cv2.split(image))
