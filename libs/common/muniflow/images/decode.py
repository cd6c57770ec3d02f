"""Encoded bytes to pixels: uint8 BGR, upright, exactly the size that the header states, or `Rejected`.

The policies (alpha, 16 bit, CMYK, gray, orientation, animation) are in docs/reference/limits.md.
"""

from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from muniflow.errors import Rejected
from muniflow.images.codec_messages import codec_messages
from muniflow.images.complaints import complaint
from muniflow.images.fields import ImageHeader
from muniflow.images.header import read_header
from muniflow.images.limits import DEFAULT_LIMITS, FORMAT_NAMES, ImageLimits
from muniflow.images.opencv import cv2, outspoken
from muniflow.images.tiff_blocks import check_blocks
from muniflow.images.turbo import decode_jpeg
from muniflow.images.types import Image
from muniflow.images.webp import up_to_picture
from muniflow.model.operation import Size

Reduction = Literal[1, 2, 4, 8]

COLOUR_FLAGS: dict[Reduction, int] = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
"""OpenCV's names for what `reduction` says."""
_DEEP_BITS = 16


def reduction(source: Size, target: Size) -> Reduction:
    """How much smaller a JPEG of size `source` may be decoded when the first step only shrinks it to `target`.

    Not bit-exact, so only for `decode: fast`. The factor is an exact fit, or leaves at least 2x for the averaging of
    `resize`. Against the full decode, photographs then have a PSNR of 38 to 60 dB (docs/reference/limits.md).
    """
    factors: tuple[Reduction, ...] = (8, 4, 2)
    for factor in factors:
        exact = target.width_px * factor == source.width_px and target.height_px * factor == source.height_px
        room = target.width_px * factor * 2 <= source.width_px and target.height_px * factor * 2 <= source.height_px
        if exact or room:
            return factor
    return 1


def decode(
    data: memoryview,
    limits: ImageLimits = DEFAULT_LIMITS,
    *,
    header: ImageHeader | None = None,
    reduction: Reduction = 1,
) -> Image:
    """Decode an image.

    Args:
        data: the file, as contiguous bytes.
        limits: what it may be; checked before OpenCV sees it.
        header: what `read_header` said of the same data, where it was read already.
        reduction: decode a JPEG to 1/2, 1/4 or 1/8 of its size, rounded up. Other formats are decoded whole.

    Returns:
        uint8 BGR, contiguous, of size `header.size` (or the reduced one).

    Raises:
        Rejected: not allowed, beyond a limit, truncated, damaged, or OpenCV cannot read it.
    """
    header = header or read_header(data, limits)
    factor: Reduction = reduction if header.format == "jpeg" else 1
    image = _upright(_decode(data, header, factor), header)
    expected = Size(-(-header.size.width_px // factor), -(-header.size.height_px // factor))
    found = Size(image.shape[1], image.shape[0])
    if found != expected:
        raise Rejected(f"the {FORMAT_NAMES[header.format]} states {expected} pixels, and decodes to {found}")
    return image


def _decode(data: memoryview, header: ImageHeader, factor: Reduction) -> Image:
    stated = Size(header.width_px, header.height_px)
    if header.format == "jpeg" and (pixels := decode_jpeg(data, stated, factor)) is not None:
        return pixels
    return _decode_by_opencv(data, header, factor)


def _decode_by_opencv(data: memoryview, header: ImageHeader, factor: Reduction) -> Image:
    if header.format == "tiff":
        check_blocks(data)
    elif header.format == "webp":
        data = up_to_picture(data)
    deep = header.bits == _DEEP_BITS
    flags = COLOUR_FLAGS[factor] | cv2.IMREAD_IGNORE_ORIENTATION | (cv2.IMREAD_ANYDEPTH if deep else 0)
    image, problem = _ask_opencv(data, header, flags)
    if problem is not None or image is None:
        raise Rejected(f"the {FORMAT_NAMES[header.format]} is damaged: {problem or 'OpenCV cannot decode it'}")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != (np.uint16 if deep else np.uint8):  # noqa: PLR2004
        raise Rejected(f"the {FORMAT_NAMES[header.format]} decodes to {image.dtype} of shape {image.shape}")
    if deep:
        # The high byte, in every format; libpng does the same, libtiff would round.
        image = (image >> 8).astype(np.uint8)
    return cast("Image", image)


def _ask_opencv(data: memoryview, header: ImageHeader, flags: int) -> tuple[NDArray[Any] | None, str | None]:
    """What OpenCV makes of `data`, and what it or a codec complained of: they go on after many an error."""
    image: NDArray[Any] | None = None
    raised = None
    with codec_messages() as messages, outspoken():
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        except cv2.error as error:
            if error.code == cv2.Error.StsNoMem:
                raise MemoryError from None
            raised = error.err
    return image, complaint(header.format, messages.lines, data) or raised


def _upright(image: Image, header: ImageHeader) -> Image:
    """Apply the EXIF orientation: we, not OpenCV, whose versions differ in which formats they do it for."""
    if header.format == "tiff":
        return image  # libtiff has done it, whatever it is told
    turned: object = image
    match header.orientation:
        case 2:
            turned = cv2.flip(image, 1)
        case 3:
            turned = cv2.rotate(image, cv2.ROTATE_180)
        case 4:
            turned = cv2.flip(image, 0)
        case 5:
            turned = cv2.transpose(image)
        case 6:
            turned = cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE)
        case 7:
            turned = cv2.rotate(cv2.transpose(image), cv2.ROTATE_180)
        case 8:
            turned = cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE)
    return cast("Image", turned)
