"""What the header parsers share: the result, bounded reads, and the checks of sizes. Needs no numpy."""

import struct
from dataclasses import dataclass
from typing import Literal, NamedTuple, NoReturn

from muniflow.errors import Rejected
from muniflow.images.limits import ImageLimits, setting
from muniflow.model.operation import Size
from muniflow.model.source_formats import FORMAT_NAMES, SourceFormat

Colours = Literal["gray", "rgb", "cmyk"]
"""What the samples of an image are; `rgb` also where a palette or YCbCr stands for them."""
Alpha = Literal["straight", "multiplied"]

UPRIGHT = 1
"""The EXIF orientation of an image that is stored as it is shown."""
_SIDEWAYS = frozenset({5, 6, 7, 8})
"""EXIF orientations that swap width and height."""


class Space(NamedTuple):
    """Colours by numbers."""

    primaries: tuple[float, ...]
    """x and y of white, red, green and blue."""
    curve: tuple[float, ...]
    """A gamma, or the five numbers of a curve that begins straight, as that of sRGB."""
    name: str = "gAMA and cHRM"
    """For people."""


@dataclass(frozen=True)
class Mends:
    """Deviations of a JPEG or PNG that change no pixel, to be put right in a copy before a strict decoder sees it."""

    values: tuple[tuple[int, int], ...] = ()
    """Bytes to set: place and value."""
    end: int | None = None
    """Where the file ends when its end marker is missing; whether all pixels are there, only the decoder can tell."""
    scan_start: int = 0
    """Where the last scan of a JPEG begins."""
    dropped: tuple[tuple[int, int], ...] = ()
    """Parts of a PNG to leave out, from and to: text larger than libpng takes."""


@dataclass(frozen=True)
class ImageHeader:
    """What a file states about its image."""

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
    mends: Mends | None = None
    """What to put right before it is decoded."""
    decoder_turns: bool = False
    """Whether the decoder applies the orientation: libtiff does, of TIFF's own tag."""
    colours: Colours = "rgb"
    samples: int = 3
    """Of one pixel of a TIFF."""
    alpha: Alpha | None = None
    """Whether its pixels have alpha, and whether colours were multiplied by it."""
    gray_key: int | None = None
    """The gray, in `bits`, that a gray PNG calls transparent."""
    profile: tuple[tuple[int, int], ...] = ()
    """Where the parts of its ICC profile are, from and to: see `muniflow.images.profile`."""
    narrow: bool = False
    """Whether a gray AVIF has black at 16 and white at 235 of 255: OpenCV leaves that so."""
    space: Space | None = None
    """What it says of its colours by numbers, which counts where it has no profile."""

    @property
    def has_profile(self) -> bool:
        """Whether it says what its colours mean."""
        return bool(self.profile) or self.space is not None

    @property
    def size(self) -> Size:
        """The size as people see it: after orientation. That is the size of the decoded image."""
        if self.orientation in _SIDEWAYS:
            return Size(self.height_px, self.width_px)
        return Size(self.width_px, self.height_px)


def unsupported(problem: str) -> NoReturn:
    """Raise `Rejected` for an image of an allowed format, of a variant that is not supported."""
    raise Rejected(problem, reason_code="image_unsupported")


class Damaged(Rejected):
    """The file breaks the rules of its format; of all other refusals the file is an image."""

    reason_code = "image_damaged"


class Truncated(Damaged):
    """The file ends too early."""


def truncated(kind: SourceFormat, detail: str) -> NoReturn:
    """Refuse a file that ends too early."""
    raise Truncated(f"the {FORMAT_NAMES[kind]} is truncated: {detail}")


def damaged(kind: SourceFormat, detail: str) -> NoReturn:
    """Refuse a file that breaks the rules of its format."""
    raise Damaged(f"the {FORMAT_NAMES[kind]} is damaged: {detail}")


def quoted(words: object) -> str:
    """What a decoder says of a file, as its own words."""
    return f'the decoder says "{words}"'


def take(kind: SourceFormat, layout: str, data: memoryview, offset: int, what: str) -> tuple[int, ...]:
    """Read integers at `offset`; `layout` is one of `struct`.

    Raises:
        Truncated: the file ends before; the text names `what`.
    """
    if offset < 0 or offset + struct.calcsize(layout) > len(data):
        truncated(kind, f"it ends inside {what}")
    values: tuple[int, ...] = struct.unpack_from(layout, data, offset)
    return values


def check_pixels(width_px: int, height_px: int, limits: ImageLimits) -> None:
    """Refuse an empty image, and one beyond the pixel limit."""
    if width_px < 1 or height_px < 1:
        raise Damaged(f"the image is {width_px}x{height_px}: it has no pixels")
    if width_px * height_px > limits.max_pixels:
        raise Rejected(
            f"the image is {width_px}x{height_px}, {width_px * height_px} pixels; the limit is {limits.max_pixels} "
            f"{setting('max_pixels')}",
            reason_code="image_too_large",
        )
