"""The parameters of `resize`, short and long. Imports no numpy: the coordinator reads batches with this."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from muniflow.errors import Rejected
from muniflow.images.limits import MAX_PIXELS
from muniflow.model.operation import Area, Operation, Params, Size

MAX_SIDE_PX = 65535
MAX_PERCENT = 1000.0
Fit = Literal["exact", "inside", "shrink"]
Side = Annotated[int, Field(ge=1, le=MAX_SIDE_PX)]

_BOX = re.compile(r"(\d{1,9})?x(\d{1,9})?", re.ASCII)
_PERCENT = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)%", re.ASCII)
_DIGITS = r" *(?:[0-9] *){1,9}"
_SHORT = rf"^(?:{_DIGITS}x(?:{_DIGITS})? *| *x{_DIGITS}|{_DIGITS}(?:\.{_DIGITS})?% *)$"
"""Any of these in one expression, as JSON Schema has it; spaces anywhere do not count."""
_FORMS = '"200x300" (exact), "200x" (width, keeping the aspect ratio), "x300" (height) or "50%"'


class ResizeParams(Params):
    """A new size: a box of one or two sides, or a percentage."""

    SHORT: ClassVar[Mapping[str, Any]] = {"type": "string", "pattern": _SHORT}

    width: Side | None = Field(default=None, description="Width in pixels; alone, it keeps the aspect ratio.")
    height: Side | None = Field(default=None, description="Height in pixels; alone, it keeps the aspect ratio.")
    percent: float | None = Field(default=None, gt=0, le=MAX_PERCENT, description="Of both sides; instead of a box.")
    fit: Fit = Field(
        default="exact",
        description="With both sides given: `exact` stretches to the box, `inside` keeps the aspect ratio within it, "
        "`shrink` does the same and never enlarges. With one side: `shrink` never enlarges.",
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        has_box = self.width is not None or self.height is not None
        if not has_box and self.percent is None:
            raise ValueError("give `width`, `height`, both, or `percent`")
        if has_box and self.percent is not None:
            raise ValueError("give `width` and `height`, or `percent`, not both")
        if self.percent is not None and self.fit != "exact":
            raise ValueError("`fit` goes with `width` and `height`; `percent` always keeps the aspect ratio")
        if self.width and self.height and self.width * self.height > MAX_PIXELS:
            raise ValueError(f"{self.width}x{self.height} is more than the limit of {MAX_PIXELS} pixels")
        return self

    @classmethod
    def from_short(cls, value: object) -> Self:
        """Read `"200x300"`, `"200x"`, `"x300"` or `"50%"`.

        Raises:
            ValueError: anything else; the text shows what is allowed.
        """
        text = value.replace(" ", "") if isinstance(value, str) else ""
        if (percent := _PERCENT.fullmatch(text)) is not None:
            return cls(percent=float(percent[1]))
        box = _BOX.fullmatch(text)
        if box is None or not any(box.groups()):
            raise ValueError(f"{value!r} is no size; write {_FORMS}")
        width, height = (int(side) if side else None for side in box.groups())
        return cls(width=width, height=height)

    def sizes(self, source: Size) -> tuple[Size, ...]:
        """The one size that is made of `source`; no side is ever less than 1 pixel.

        Raises:
            Rejected: the image would be enlarged beyond the pixel limit.
        """
        target = self._target(source)
        if target.pixels > max(MAX_PIXELS, source.pixels) or max(target) > max(MAX_SIDE_PX, *source):
            raise Rejected(
                f"{source} would be enlarged to {target}; the limits are {MAX_PIXELS} pixels and {MAX_SIDE_PX} a side",
                reason_code="output_too_large",
            )
        return (target,)

    def areas(self, source: Size) -> tuple[Area, ...]:
        """All of it."""
        return (Area.all_of(source),)

    def on_reduced(self, source: Size) -> Self | None:
        """The size that `source` gets, as an exact box."""
        (target,) = self.sizes(source)
        if target.pixels > MAX_PIXELS or max(target) > MAX_SIDE_PX:
            return None
        return type(self)(width=target.width_px, height=target.height_px)

    def _target(self, source: Size) -> Size:
        if self.percent is not None:
            return _scaled(source, self.percent, 100)
        if self.fit == "exact" and self.width is not None and self.height is not None:
            return Size(self.width, self.height)
        # The side that binds sets the scale, as a fraction of integers, so that it comes out exactly.
        wanted = [
            (side, given) for side, given in ((self.width, source.width_px), (self.height, source.height_px)) if side
        ]
        side, given = min(wanted, key=lambda pair: pair[0] / pair[1])
        if self.fit == "shrink" and side >= given:
            return source
        return _scaled(source, side, given)


def _scaled(source: Size, factor: float, of: int) -> Size:
    """`source` times `factor / of`, rounded to the nearest pixel, halves up, and never to nothing."""
    return Size(
        max(1, int(source.width_px * factor / of + 0.5)),
        max(1, int(source.height_px * factor / of + 0.5)),
    )


OPERATION = Operation(
    name="resize",
    params=ResizeParams,
    summary="Change the size of an image, to pixels or by a percentage.",
    examples=(
        ["resize", "50%"],
        ["resize", "200x"],
        ["resize", "200x300"],
        ["resize", "x300"],
        {"op": "resize", "width": 200, "height": 300, "fit": "exact"},
        {"op": "resize", "width": 2000, "height": 2000, "fit": "shrink"},
        {"op": "resize", "percent": 12.5},
    ),
)
