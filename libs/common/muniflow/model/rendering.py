"""What a batch wants of colours, alpha, bands and metadata. Pure."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from muniflow.model.encoding import WITH_ALPHA, Encoding
from muniflow.model.wire import OPEN

Color = Literal["srgb", "keep"]
"""`srgb`: colours of a profile are converted. `keep`: they stay as they are, and outputs carry the profile."""
Alpha = Literal["keep", "flatten"]
"""`keep`: a fourth channel. `flatten`: laid over the background."""
Metadata = Literal["strip", "keep", "gps"]
"""`strip`: none. `keep`: EXIF, GPano and the density. `gps`: of these only place, heading, time, GPano and density."""
Band = Annotated[int, Field(ge=1, le=4)]
Bands = Annotated[tuple[Band, Band, Band], Field(strict=False)]
"""Which bands of a source are red, green and blue, counted from 1."""
WHITE = "#ffffff"
BACKGROUND = "^#[0-9a-fA-F]{6}$"


class Rendering(BaseModel):
    """How sources become the pixels that steps see, as far as a batch chooses it."""

    model_config: ClassVar[ConfigDict] = OPEN

    color: Color = "srgb"
    alpha: Alpha | None = None
    """`None`: kept where the format of the outputs has it."""
    background: Annotated[str, Field(pattern=BACKGROUND)] = WHITE
    """What lies under transparent parts, as `#rrggbb`."""
    bands: Bands | None = None
    """`None`: as they come, and alpha as alpha."""
    metadata: Metadata = "strip"
    """What outputs keep of what a source says about itself."""

    @property
    def background_rgb(self) -> tuple[int, int, int]:
        """The background as red, green and blue, 0 to 255."""
        red, green, blue = bytes.fromhex(self.background[1:])
        return red, green, blue

    def chosen(self) -> dict[str, Any]:
        """The fields that are not the default, as a batch names them."""
        return self.model_dump(mode="json", exclude_defaults=True)


DEFAULT = Rendering()
"""What a batch gets that chooses nothing."""


def keeps_alpha(rendering: Rendering, encoding: Encoding) -> bool:
    """Whether images that have alpha are four channels in all steps."""
    return (rendering.alpha or ("keep" if encoding.format in WITH_ALPHA else "flatten")) == "keep"
