"""What the header parsers share: the result, bounded reads, and the checks of sizes. Needs no numpy."""

import struct
from dataclasses import dataclass
from typing import NoReturn

from muniflow.errors import Rejected
from muniflow.images.limits import FORMAT_NAMES, ImageLimits, SourceFormat
from muniflow.model.operation import Size

UPRIGHT = 1
"""The EXIF orientation of an image that is stored as it is shown."""
_SIDEWAYS = frozenset({5, 6, 7, 8})
"""EXIF orientations that swap width and height."""


@dataclass(frozen=True)
class ImageHeader:
    """What a file says of its image."""

    format: SourceFormat
    width_px: int
    """Width as stored, before orientation."""
    height_px: int
    """Height as stored, before orientation."""
    scans: int = 1
    """Scans of a JPEG; 1 in all other formats."""
    orientation: int = UPRIGHT
    """EXIF orientation, 1 to 8."""
    bits: int = 8
    """Bits of one sample."""

    @property
    def size(self) -> Size:
        """The size as people see it: after orientation. That is the size of the decoded image."""
        if self.orientation in _SIDEWAYS:
            return Size(self.height_px, self.width_px)
        return Size(self.width_px, self.height_px)


def truncated(kind: SourceFormat, detail: str) -> NoReturn:
    """Refuse a file that ends too early."""
    raise Rejected(f"the {FORMAT_NAMES[kind]} is truncated: {detail}")


def damaged(kind: SourceFormat, detail: str) -> NoReturn:
    """Refuse a file that breaks the rules of its format."""
    raise Rejected(f"the {FORMAT_NAMES[kind]} is damaged: {detail}")


def take(kind: SourceFormat, layout: str, data: memoryview, offset: int, what: str) -> tuple[int, ...]:
    """Read integers at `offset`; `layout` is one of `struct`.

    Raises:
        Rejected: the file ends before; the text names `what`.
    """
    if offset < 0 or offset + struct.calcsize(layout) > len(data):
        truncated(kind, f"it ends inside {what}")
    values: tuple[int, ...] = struct.unpack_from(layout, data, offset)
    return values


def check_pixels(width_px: int, height_px: int, limits: ImageLimits) -> None:
    """Refuse an empty image, and one beyond the pixel limit."""
    if width_px < 1 or height_px < 1:
        raise Rejected(f"the image is {width_px}x{height_px}: it has no pixels")
    if width_px * height_px > limits.max_pixels:
        raise Rejected(
            f"the image is {width_px}x{height_px}, {width_px * height_px} pixels; the limit is {limits.max_pixels}"
        )
