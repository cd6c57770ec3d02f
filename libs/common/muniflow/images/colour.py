"""Pixels of any ICC profile to sRGB, by littleCMS through `PIL.ImageCms`. Pillow decodes nothing here.

A conversion is made once for each profile. One that moves no colour by more than a gray level, as sRGB
profiles of every maker, is none, and its images cost nothing more.
"""

import io
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from PIL import ImageCms

from muniflow.images.fields import Colours
from muniflow.images.opencv import cv2
from muniflow.images.types import Image

INTENT: Final = ImageCms.Intent.RELATIVE_COLORIMETRIC
"""Colours that sRGB has stay what they are, white stays white; those beyond it become the nearest at its edge."""
MAX_KEPT = 16
"""Conversions of the profiles seen last. That of a printing press takes some megabytes."""
EQUAL_LEVELS = 1
"""A profile that differs by no more is sRGB."""
_STRIP_PX = 1 << 16
"""Converted at a time: what Pillow copies stays in the CPU's cache."""
_MODES: Final[dict[Colours, str]] = {"gray": "L", "rgb": "RGB", "cmyk": "CMYK"}
_RAW: Final[dict[Colours, str]] = {"gray": "L", "rgb": "BGR", "cmyk": "CMYK;I"}
"""How pixels lie in memory; CMYK as Adobe writes it, where 255 is no ink."""
_GRID = np.unique(np.append(np.arange(0, 256, 8), 255)).astype(np.uint8)

Samples = NDArray[np.uint8]


@dataclass(frozen=True)
class Conversion:
    """From the colours of one profile to sRGB."""

    transform: ImageCms.ImageCmsTransform
    colours: Colours

    def run(self, pixels: Samples, into: Image) -> None:
        """Convert pixels.

        Args:
            pixels: uint8, rows contiguous: (H, W) of gray, (H, W, 3) BGR, or (H, W, 4) CMYK as Adobe writes it.
            into: uint8 BGR of shape (H, W, 3); may be `pixels` itself.
        """
        rows = max(1, _STRIP_PX // pixels.shape[1])
        for top in range(0, len(pixels), rows):
            strip = np.ascontiguousarray(pixels[top : top + rows])
            size = strip.shape[1], strip.shape[0]
            image = Pillow.frombuffer(_MODES[self.colours], size, strip, "raw", _RAW[self.colours], 0, 1)
            made = self.transform.apply(image).tobytes("raw", "BGR")
            into[top : top + rows] = np.frombuffer(made, np.uint8).reshape(*strip.shape[:2], 3)


@lru_cache(MAX_KEPT)
def conversion(profile: bytes, colours: Colours) -> Conversion | None:
    """The conversion of `profile` to sRGB; `None` where it is sRGB, or littleCMS cannot use it.

    Args:
        profile: its bytes, stating `colours` as its space.
        colours: what pixels have; gray is converted by `gray_table`.
    """
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)), _srgb(), _MODES[colours], "RGB", renderingIntent=INTENT
        )
    except (ImageCms.PyCMSError, OSError):
        return None
    found = Conversion(transform, colours)
    return None if colours == "rgb" and _moves_nothing(found) else found


@lru_cache(MAX_KEPT)
def gray_table(profile: bytes) -> Samples | None:
    """For each gray of `profile` that of sRGB: the one with its lightness, so that gray stays gray. `None` as above."""
    found = conversion(profile, "gray")
    if found is None:
        return None
    made = np.empty((1, 256, 3), np.uint8)
    found.run(np.arange(256, dtype=np.uint8).reshape(1, 256), made)
    table = np.ascontiguousarray(made[0, :, 1])
    return None if _equal(table, np.arange(256, dtype=np.uint8)) else table


def rgb_to_srgb(image: Image, profile: bytes) -> Image:
    """An image of RGB, converted where it is; itself where it is sRGB already."""
    found = conversion(profile, "rgb")
    if found is not None:
        image = np.require(image, requirements="W")
        found.run(image, image)
    return image


def gray_to_srgb(image: Image, profile: bytes) -> Image:
    """The same of an image whose three channels are one gray."""
    table = gray_table(profile)
    return image if table is None else np.asarray(cv2.LUT(image, table), np.uint8)


def cmyk_to_srgb(inks: Samples, profile: bytes, *, unless: Image) -> Image:
    """What inks look like on the paper of their profile, written over `unless`; that, where it cannot be used."""
    found = conversion(profile, "cmyk")
    if found is not None:
        found.run(inks, unless)
    return unless


@lru_cache(1)
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def _moves_nothing(found: Conversion) -> bool:
    cube = np.stack(np.meshgrid(_GRID, _GRID, _GRID, indexing="ij"), -1).reshape(1, -1, 3)
    grays = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(1, 256, 3)
    tried = np.ascontiguousarray(np.concatenate([cube, grays], 1))
    made = np.empty_like(tried)
    found.run(tried, made)
    return _equal(made, tried)


def _equal(one: Samples, other: Samples) -> bool:
    return int(np.abs(one.astype(np.int16) - other).max()) <= EQUAL_LEVELS
