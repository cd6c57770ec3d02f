"""Checks an image before a decoder sees it: format, size, orientation, completeness. Pure Python, no numpy.

A 51-byte GIF that claims 30000x30000 costs OpenCV gigabytes, and some truncated JPEGs come back filled with grey.
Here such files are refused in microseconds, with a readable reason. The parsers raise nothing but `Rejected`, on any
input.
"""

from dataclasses import dataclass
from typing import BinaryIO

from muniflow.errors import Rejected
from muniflow.images.fields import ImageHeader, Truncated, check_pixels
from muniflow.images.heif import read_heif
from muniflow.images.jpeg import read_jpeg
from muniflow.images.limits import DEFAULT_LIMITS, ImageLimits, setting
from muniflow.images.png import read_png
from muniflow.images.sniff import allowed_format
from muniflow.images.tiff import read_tiff
from muniflow.images.webp import read_webp
from muniflow.model.source_formats import SourceFormat

__all__ = ["ImageHeader", "ImageLimits", "ImageStart", "read_header", "read_start"]

START_BYTES = 64 * 1024
MAX_START_BYTES = 8 * 2**20
"""Longest first part that is read of a file, in bytes; profiles and previews before the pixels take some megabytes."""


def read_header(data: memoryview, limits: ImageLimits = DEFAULT_LIMITS) -> ImageHeader:
    """Check a whole encoded image without decoding it.

    Args:
        data: the file, as contiguous bytes.
        limits: what it may be.

    Raises:
        Rejected: not an image of an allowed format, beyond a limit, truncated, or animated.
    """
    if data.nbytes > limits.max_encoded_bytes:
        raise Rejected(
            f"the file has {data.nbytes} bytes; the limit is {limits.max_encoded_bytes} {setting('max_encoded_bytes')}",
            reason_code="image_too_large",
        )
    octets = data.cast("B") if data.format != "B" or data.ndim != 1 else data
    header = _read(allowed_format(octets, limits.formats), octets, limits, start_only=False)
    # The parsers check this as soon as they know it; once more here, so that a new one cannot forget.
    check_pixels(header.width_px, header.height_px, limits)
    return header


@dataclass(frozen=True)
class ImageStart:
    """The first part of an encoded image."""

    data: bytes
    """What was read of the stream."""
    header: ImageHeader | None = None
    """What it states; of a PNG or WebP, an orientation that comes after the pixels is missing."""
    refused: Rejected | None = None
    """Why no step accepts the image; `Damaged` when it is not an image at all."""


def read_start(
    stream: BinaryIO, limits: ImageLimits = DEFAULT_LIMITS, *, max_bytes: int = MAX_START_BYTES
) -> ImageStart:
    """Check an encoded image as far as its first part shows: `read_header` refuses all that is refused here.

    Reads 64 KiB of nearly all files, and at most `max_bytes`. A TIFF, which may state its size anywhere in the
    file, has neither header nor refusal; nor has a file that states its size behind `max_bytes`.

    Args:
        stream: read from where it is; what was read comes back as `ImageStart.data`.
        limits: what the image may be. The size of the file is not known here.
        max_bytes: bounds the memory: twice this for a moment.
    """
    data, wanted = b"", START_BYTES
    while True:
        data += stream.read(wanted - len(data))
        try:
            found = allowed_format(memoryview(data), limits.formats)
            header = None if found == "tiff" else _read(found, memoryview(data), limits, start_only=True)
        except Truncated as refused:
            if len(data) < wanted:
                return ImageStart(data, refused=refused)
            if wanted >= max_bytes:
                return ImageStart(data)
            wanted = min(2 * wanted, max_bytes)
        except Rejected as refused:
            return ImageStart(data, refused=refused)
        else:
            return ImageStart(data, header)


def _read(found: SourceFormat, data: memoryview, limits: ImageLimits, *, start_only: bool) -> ImageHeader:
    match found:
        case "jpeg":
            return read_jpeg(data, limits, start_only=start_only)
        case "png":
            return read_png(data, limits, start_only=start_only)
        case "webp":
            return read_webp(data, limits, start_only=start_only)
        case "tiff":
            return read_tiff(data, limits)
        case "heif" | "avif":
            return read_heif(data, found, limits, start_only=start_only)
