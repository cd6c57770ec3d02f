"""Raw pixels between two steps, as messages refer to them. Pixels never travel in one."""

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from muniflow.model.lineage import WHOLE
from muniflow.model.wire import OPEN, Since

Pair = tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=2)]]


class RawRef(BaseModel):
    """Raw pixels inside a blob of the work store: uint8 BGR or BGRA, rows `stride_bytes` apart.

    A tile is a reference into its parent's blob, so `split` copies nothing.
    """

    model_config: ClassVar[ConfigDict] = OPEN

    key: str
    width_px: Annotated[int, Field(ge=1)]
    height_px: Annotated[int, Field(ge=1)]
    stride_bytes: Annotated[int, Field(ge=3)]
    offset_bytes: Annotated[int, Field(ge=0)] = 0
    alpha: Annotated[Literal[True] | None, Since(2)] = None
    """Whether a fourth channel follows: BGRA."""

    @property
    def channels(self) -> int:
        """Bytes of one pixel."""
        return 4 if self.alpha else 3

    @property
    def size_px(self) -> int:
        """Width times height."""
        return self.width_px * self.height_px


class Tile(BaseModel):
    """An image between two steps, or a part of one: where it comes from, and its pixels."""

    model_config: ClassVar[ConfigDict] = OPEN

    lineage: tuple[Pair, ...] = WHOLE
    pixels: RawRef
    frame: Annotated[tuple[float, float, float, float] | None, Since(2)] = None
    """Where it lies in its source (`muniflow.model.frame.Frame`), where its outputs say so."""
