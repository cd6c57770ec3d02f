"""How outputs are encoded. Pure."""

from typing import Annotated, ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

ImageFormat = Literal["jpg", "png", "webp"]
IMAGE_FORMATS: tuple[ImageFormat, ...] = get_args(ImageFormat)
LOSSLESS: frozenset[ImageFormat] = frozenset({"png"})
"""Formats that take no quality."""
WITH_ALPHA: frozenset[ImageFormat] = frozenset({"png", "webp"})
"""Formats that have alpha."""


class Encoding(BaseModel):
    """How outputs are encoded."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: ImageFormat
    quality: Annotated[int, Field(ge=1, le=100)] | None = None
    """1 to 100 for jpg and webp; `None` takes the format's default. Not allowed for png, which is lossless."""
