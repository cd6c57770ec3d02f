"""Encoded bytes to pixels: uint8 BGR or BGRA, upright, exactly the size that the header states, or `Rejected`.

The policies (alpha, 16 bit, CMYK, gray, orientation, animation) are in docs/reference/limits.md.
"""

from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from muniflow.errors import Rejected
from muniflow.images.alpha import WITH_ALPHA, is_mask, over, straight
from muniflow.images.codec_messages import codec_messages
from muniflow.images.complaints import complaint
from muniflow.images.fields import ImageHeader, damaged, quoted, truncated
from muniflow.images.header import read_header
from muniflow.images.heic import decode_heic
from muniflow.images.limits import DEFAULT_LIMITS, ImageLimits
from muniflow.images.mend import mended
from muniflow.images.opencv import cv2, outspoken
from muniflow.images.profile import profile_of
from muniflow.images.tiff_blocks import check_blocks
from muniflow.images.turbo import decode_inks, decode_jpeg
from muniflow.images.types import Image
from muniflow.images.webp import up_to_picture
from muniflow.model.operation import Size
from muniflow.model.rendering import DEFAULT, Bands, Color, Rendering
from muniflow.model.source_formats import FORMAT_NAMES

Reduction = Literal[1, 2, 4, 8]

COLOUR_FLAGS: dict[Reduction, int] = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
"""OpenCV's names for what `reduction` says."""
_DEEP_BITS = 16
_SENSOR_BITS = 12
_PLACES = (2, 1, 0, 3)
"""Where OpenCV puts the first, second, … band of a source."""
_RED_GREEN_BLUE = (1, 2, 3)


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
    rendering: Rendering = DEFAULT,
    alpha: bool = False,
) -> Image:
    """Decode an image.

    Args:
        data: the file, as contiguous bytes.
        limits: what it may be; checked before OpenCV sees it.
        header: what `read_header` said of the same data, where it was read already.
        reduction: decode a JPEG to 1/2, 1/4 or 1/8 of its size, rounded up. Other formats are decoded whole.
        rendering: what becomes of colours, alpha and bands.
        alpha: whether alpha is kept; else it is laid over the background of `rendering`.

    Returns:
        uint8 BGR, or BGRA where alpha is kept and the file has it, contiguous, of size `header.size` (or the reduced
        one).

    Raises:
        Rejected: not allowed, beyond a limit, truncated, damaged, or OpenCV cannot read it.
    """
    header = header or read_header(data, limits)
    factor: Reduction = reduction if header.format == "jpeg" else 1
    image = _upright(_rendered(data, header, factor, rendering, alpha=alpha), header)
    expected = Size(-(-header.size.width_px // factor), -(-header.size.height_px // factor))
    found = Size(image.shape[1], image.shape[0])
    if found != expected:
        raise Rejected(
            f"the {FORMAT_NAMES[header.format]} states {expected} pixels, and decodes to {found}",
            reason_code="image_damaged",
        )
    return image


def _rendered(data: memoryview, header: ImageHeader, factor: Reduction, rendering: Rendering, *, alpha: bool) -> Image:
    """Decode, and make of bands, alpha and profile what the batch wants; as stored, not upright yet."""
    bands = rendering.bands
    if bands is not None:
        image = _chosen(_decode(data, header, factor, all_samples=True), bands)
        return image if bands != _RED_GREEN_BLUE else _in_srgb(image, data, header, factor, rendering.color)
    image = _decode(data, header, factor, all_samples=header.alpha is not None)
    if image.shape[2] < WITH_ALPHA:
        return _in_srgb(image, data, header, factor, rendering.color)
    if header.format == "tiff" and not is_mask(image[:, :, 3]):
        return _in_srgb(np.ascontiguousarray(image[:, :, :3]), data, header, factor, rendering.color)
    if header.alpha == "multiplied":
        image = straight(image)
    if header.has_profile:
        image = image if image.flags.writeable else image.copy()
        colours = np.ascontiguousarray(image[:, :, :3])
        image[:, :, :3] = _in_srgb(colours, data, header, factor, rendering.color)
    return image if alpha else over(image, rendering.background_rgb)


def _chosen(image: Image, bands: Bands) -> Image:
    if max(bands) > image.shape[2]:
        raise Rejected(
            f"bands: the image has no band {max(bands)}; it has {image.shape[2]}", reason_code="image_unsupported"
        )
    red, green, blue = (_PLACES[band - 1] for band in bands)
    return np.ascontiguousarray(image[:, :, [blue, green, red]])


def _in_srgb(image: Image, data: memoryview, header: ImageHeader, factor: Reduction, color: Color) -> Image:
    """Convert the colours of a profile: those of RGB where that is wanted; outputs have no CMYK and no gray."""
    profile = None if color == "keep" and header.colours == "rgb" else profile_of(data, header)
    if profile is None:
        return image
    # Most files have no profile, and Pillow takes its time to load.
    from muniflow.images import colour

    match header.colours:
        case "rgb":
            return colour.rgb_to_srgb(image, profile)
        case "gray":
            return colour.gray_to_srgb(image, profile)
        case "cmyk":
            stated = Size(header.width_px, header.height_px)
            inks = decode_inks(mended(data, header), stated, factor)
            return colour.cmyk_to_srgb(inks, profile, unless=image)


def _decode(data: memoryview, header: ImageHeader, factor: Reduction, *, all_samples: bool) -> Image:
    if header.mends is not None:
        data = mended(data, header)
    stated = Size(header.width_px, header.height_px)
    if header.format == "jpeg" and (pixels := decode_jpeg(data, stated, factor)) is not None:
        return pixels
    if header.format == "heif":
        return decode_heic(data)
    has_four = header.format == "tiff" and header.samples == WITH_ALPHA
    if has_four and header.bits == _DEEP_BITS and not all_samples:
        # Of 16 bits OpenCV leaves no band out by itself.
        return np.ascontiguousarray(_decode_by_opencv(data, header, factor, all_samples=True)[:, :, :3])
    four = header.alpha is not None or (all_samples and has_four)
    return _decode_by_opencv(data, header, factor, all_samples=all_samples and four)


def _decode_by_opencv(data: memoryview, header: ImageHeader, factor: Reduction, *, all_samples: bool) -> Image:
    if header.format == "tiff":
        check_blocks(data)
        data = mended(data, header)
    elif header.format == "webp":
        data = up_to_picture(data)
    deep = header.bits == _DEEP_BITS
    flags = COLOUR_FLAGS[factor] | cv2.IMREAD_IGNORE_ORIENTATION | (cv2.IMREAD_ANYDEPTH if deep else 0)
    if all_samples:
        flags = cv2.IMREAD_UNCHANGED
        deep = header.bits > 8  # noqa: PLR2004
    image = _ask_opencv(data, header, flags)
    if image.ndim == 2 and header.gray_key is not None:  # noqa: PLR2004
        image = _with_key(image, header)
    channels = (WITH_ALPHA,) if all_samples else (3,)
    if image.ndim != 3 or image.shape[2] not in channels or image.dtype != (np.uint16 if deep else np.uint8):  # noqa: PLR2004
        raise Rejected(
            f"the {FORMAT_NAMES[header.format]} decodes to {image.dtype} of shape {image.shape}",
            reason_code="image_damaged",
        )
    if header.narrow and not all_samples:
        return _widened(image)
    if header.format == "avif" and deep:
        return cv2.convertScaleAbs(image, alpha=255 / ((1 << header.bits) - 1)).astype(np.uint8, copy=False)
    return cast("Image", _high_bits(image) if deep else image)


def _widened(image: NDArray[Any]) -> Image:
    """From black to white, of gray that runs from 16 to 235; OpenCV made eight bits of more before."""
    above = np.maximum(image, 16) - np.uint8(16)
    return np.asarray(cv2.convertScaleAbs(above, alpha=255 / (235 - 16)), np.uint8)


def _with_key(gray: NDArray[Any], header: ImageHeader) -> NDArray[Any]:
    """BGRA of a gray PNG in which one gray is transparent; OpenCV leaves that out."""
    full = np.iinfo(gray.dtype).max
    key = (header.gray_key or 0) * (full // ((1 << header.bits) - 1))
    return np.dstack([gray, gray, gray, np.where(gray == key, 0, full).astype(gray.dtype)])


def _high_bits(image: NDArray[Any]) -> NDArray[Any]:
    """Eight bits of sixteen: the high byte, in every format; libpng does the same, libtiff would round.

    Sensors of 12 bits leave the upper four at 0. No photograph is that dark: of such colours the eight
    below stay, and of a fourth band that is like them.
    """
    made = (image >> 8).astype(np.uint8)
    if int(image[:, :, :3].max()) < 1 << _SENSOR_BITS:
        like = WITH_ALPHA if int(image.max()) < 1 << _SENSOR_BITS else 3
        made[:, :, :like] = image[:, :, :like] >> (_SENSOR_BITS - 8)
    return made


def _ask_opencv(data: memoryview, header: ImageHeader, flags: int) -> NDArray[Any]:
    """Decode `data`; what OpenCV or a codec complains of refuses it: both go on after many errors."""
    image: NDArray[Any] | None = None
    raised = None
    with codec_messages() as messages, outspoken():
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        except cv2.error as error:
            if error.code == cv2.Error.StsNoMem:
                raise MemoryError from None
            raised = error.err
    problem = complaint(header.format, messages.lines, data) or raised
    if problem is not None and header.mends is not None and header.mends.end is not None:
        truncated(header.format, f"it has no end, and not all its pixels: {quoted(problem)}")
    if problem is not None:
        damaged(header.format, quoted(problem))
    if image is None:
        damaged(header.format, "OpenCV cannot decode it")
    return image


def _upright(image: Image, header: ImageHeader) -> Image:
    """Apply the EXIF orientation. OpenCV is told not to: its versions do it for different formats."""
    if header.decoder_turns:
        return image
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
