"""Our own look at an image before a decoder sees it: format, size, orientation, completeness. Pure Python, no numpy.

A 51-byte GIF that claims 30000x30000 costs OpenCV gigabytes, and some truncated JPEGs come back filled with grey.
Here such files are refused in microseconds, with a reason for people. Nothing but `Rejected` leaves this package's
parsers, on any input.
"""

from muniflow.errors import Rejected
from muniflow.images.fields import ImageHeader, check_pixels
from muniflow.images.jpeg import read_jpeg
from muniflow.images.limits import DEFAULT_LIMITS, FORMAT_NAMES, ImageLimits, SourceFormat
from muniflow.images.png import read_png
from muniflow.images.sniff import describe, format_of
from muniflow.images.tiff import read_tiff
from muniflow.images.webp import read_webp

__all__ = ["ImageHeader", "ImageLimits", "read_header"]


def read_header(data: memoryview, limits: ImageLimits = DEFAULT_LIMITS) -> ImageHeader:
    """Check a whole encoded image without decoding it.

    Args:
        data: the file, as contiguous bytes.
        limits: what it may be.

    Raises:
        Rejected: not an image of an allowed format, beyond a limit, truncated, or animated.
    """
    if not data.nbytes:
        raise Rejected("the file is empty")
    if data.nbytes > limits.max_encoded_bytes:
        raise Rejected(f"the file has {data.nbytes} bytes; the limit is {limits.max_encoded_bytes}")
    octets = data.cast("B") if data.format != "B" or data.ndim != 1 else data
    found = format_of(octets)
    if found is None or found not in limits.formats:
        allowed = ", ".join(FORMAT_NAMES[name] for name in limits.formats)
        raise Rejected(f"not an image that is allowed: it seems to be {describe(octets)}; allowed: {allowed}")
    header = _read(found, octets, limits)
    # The parsers check this as soon as they know it; once more here, so that a new one cannot forget.
    check_pixels(header.width_px, header.height_px, limits)
    return header


def _read(found: SourceFormat, data: memoryview, limits: ImageLimits) -> ImageHeader:
    match found:
        case "jpeg":
            return read_jpeg(data, limits)
        case "png":
            return read_png(data, limits)
        case "webp":
            return read_webp(data, limits)
        case "tiff":
            return read_tiff(data, limits)
