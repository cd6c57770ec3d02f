"""The one place that imports OpenCV, so that its limits are set before and proven after: `from … import cv2`.

OpenCV reads its pixel limit from the environment once, when it is loaded; set later, it counts for nothing.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from muniflow.images.limits import PIXELS_BACKSTOP

_LIMIT = "OPENCV_IO_MAX_IMAGE_PIXELS"
# An exception to "nothing touches the environment at import": OpenCV has no other way.
os.environ[_LIMIT] = str(PIXELS_BACKSTOP)
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # but not while it decodes: `outspoken`

import cv2  # noqa: E402
import numpy as np  # noqa: E402

__all__ = ["cv2", "outspoken"]

# One process per core beats threads inside an operation (docs/performance.md), and results never depend on the machine.
cv2.setNumThreads(1)


@contextmanager
def outspoken() -> Iterator[None]:
    """Have OpenCV print what its codecs complain of, to be used inside `codec_messages`.

    For many errors of libtiff, that line is the only sign.
    """
    before = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_WARNING)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(before)


def _oversized_png() -> bytes:
    """A PNG of a few bytes that claims twice the pixels that OpenCV may accept."""
    side = 2**15
    header = struct.pack(">IIBBBBB", side, 2 * PIXELS_BACKSTOP // side, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(8))), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def check_limit() -> None:
    """Prove that OpenCV refuses an oversized image; runs when this module is imported.

    Raises:
        RuntimeError: it does not, because something imported cv2 before this module.
    """
    try:
        cv2.imdecode(np.frombuffer(_oversized_png(), np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        if "CV_IO_MAX_IMAGE_PIXELS" in str(error):
            return
    raise RuntimeError(
        f"OpenCV was loaded without its pixel limit ({_LIMIT}): import muniflow.images.opencv before any other cv2"
    )


check_limit()
