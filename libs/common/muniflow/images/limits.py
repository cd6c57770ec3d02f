"""Limits of images, checked before OpenCV sees a byte. Needs no numpy."""

from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer

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


DEFAULT_LIMITS = ImageLimits()
"""The default limits."""
