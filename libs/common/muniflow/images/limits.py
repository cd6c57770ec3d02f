"""Limits of images, checked before OpenCV sees a byte. Needs no numpy."""

from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer

from muniflow.errors import Rejected
from muniflow.model.source_formats import SourceFormat
from muniflow.runtime.settings import Settings, variable

MAX_PIXELS = 16384 * 8192
"""The default pixel limit of a source, and what `resize` may enlarge to: a large street panorama, 134 megapixels."""
PIXELS_BACKSTOP = 2**29
"""What OpenCV itself refuses (`muniflow.images.opencv`); no pixel limit can be set above it."""


def _split(value: object) -> object:
    return tuple(part.strip().lower() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


Formats = Annotated[
    tuple[SourceFormat, ...],
    BeforeValidator(_split),
    PlainSerializer(",".join, return_type=str),
]
"""Formats as settings: a comma list in the environment."""


def setting(field: str) -> str:
    """How a refusal names the setting of a limit: `limits.max_pixels` is `MUNIFLOW_MAX_PIXELS`."""
    return f"({variable(field)})"


class ImageLimits(Settings):
    """Limits of source images; the policies are in docs/reference/limits.md."""

    max_pixels: int = Field(default=MAX_PIXELS, ge=1, le=PIXELS_BACKSTOP)
    """Width times height of a source image."""
    max_scans: int = Field(default=64, ge=1)
    """Scans of a JPEG: each is a pass over the whole image. Progressive photographs have about ten."""
    max_encoded_bytes: int = Field(default=512 * 2**20, ge=1)
    """Size of a source file."""
    formats: Formats = Field(default=("jpeg", "png", "webp", "heif", "avif"), min_length=1)
    """Formats that are decoded; tiff only where asked for."""
    max_growth: float = Field(default=4.0, ge=1, allow_inf_nan=False)
    """What a step may make of one image, all tiles together, as a multiple of the pixels of its source. Up to
    `max_pixels` is always allowed."""
    max_image_seconds: float = Field(default=60.0, gt=0, allow_inf_nan=False)
    """Compute time of one image, in seconds by the documented costs (`muniflow.forecast.defaults`)."""

    def too_large(self, made_px: float, source_px: int) -> Rejected | None:
        """Why an image must not be made into so many pixels by one step, all tiles together; `None`: it may."""
        allowed_px = max(self.max_pixels, self.max_growth * source_px)
        if made_px <= allowed_px:
            return None
        return Rejected(
            f"an image of {source_px} pixels would be made into {made_px:.0f}, all tiles together; the limit is "
            f"{allowed_px:.0f}: {self.max_growth:g} times its own {setting('max_growth')}, or as one image "
            f"{setting('max_pixels')}",
            reason_code="output_too_large",
        )

    def too_long(self, seconds: float) -> Rejected | None:
        """Why one image must not take so many seconds; `None`: it may."""
        if seconds <= self.max_image_seconds:
            return None
        return Rejected(
            f"the image would take {seconds:.0f} s of compute time; the limit is {self.max_image_seconds:g} "
            f"{setting('max_image_seconds')}",
            reason_code="too_much_work",
        )


DEFAULT_LIMITS = ImageLimits()
"""The default limits."""
