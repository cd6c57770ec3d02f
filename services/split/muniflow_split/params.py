"""The parameters of `split`, short and long. Imports no numpy: the coordinator reads batches with this."""

import re
from collections.abc import Mapping
from itertools import accumulate
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from muniflow.errors import Rejected
from muniflow.model.operation import Area, Operation, Params, Size

MAX_SIDE = 64
"""Columns, and rows, of a grid."""
Count = Annotated[int, Field(ge=1, le=MAX_SIDE)]

_GRID = re.compile(r"(\d{1,9})x(\d{1,9})", re.ASCII)
_SHORT = r"^ *(?:[0-9] *){1,9}x *(?:[0-9] *){1,9}$"
"""The same as JSON Schema has it; spaces anywhere do not count."""
_FORMS = 'true (2x2, four quadrants) or "<columns>x<rows>", such as "3x2"'


class SplitParams(Params):
    """A grid of columns and rows."""

    SHORT: ClassVar[Mapping[str, Any]] = {"anyOf": [{"const": True}, {"type": "string", "pattern": _SHORT}]}

    columns: Count = Field(default=2, description="Tiles side by side.")
    rows: Count = Field(default=2, description="Tiles one below the other.")

    @model_validator(mode="after")
    def _splits_something(self) -> Self:
        if self.fan_out == 1:
            raise ValueError("a grid of 1x1 splits nothing; leave the step out")
        return self

    @classmethod
    def from_short(cls, value: object) -> Self:
        """Read `true` or `"3x2"`.

        Raises:
            ValueError: anything else; the text shows what is allowed.
        """
        if value is True:
            return cls()
        if value is False:
            raise ValueError(f"false splits nothing; leave the step out, or write {_FORMS}")
        grid = _GRID.fullmatch(value.replace(" ", "")) if isinstance(value, str) else None
        if grid is None:
            raise ValueError(f"{value!r} is no grid; write {_FORMS}")
        return cls(columns=int(grid[1]), rows=int(grid[2]))

    @property
    def fan_out(self) -> int:
        """The number of tiles."""
        return self.columns * self.rows

    def require(self, source: Size) -> None:
        """Refuse an image that is too small.

        Raises:
            Rejected: a tile would be empty.
        """
        if source.width_px < self.columns or source.height_px < self.rows:
            raise Rejected(
                f"an image of {source} cannot be split into {self.columns}x{self.rows} tiles: "
                "every tile needs at least one pixel",
                reason_code="operation_refused",
            )

    def sizes(self, source: Size) -> tuple[Size, ...]:
        """The sizes of the tiles: row by row, each from left to right.

        Raises:
            Rejected: a tile would be empty.
        """
        self.require(source)
        widths, heights = parts(source.width_px, self.columns), parts(source.height_px, self.rows)
        return tuple(Size(width, height) for height in heights for width in widths)

    def areas(self, source: Size) -> tuple[Area, ...]:
        """The tiles themselves."""
        widths, heights = parts(source.width_px, self.columns), parts(source.height_px, self.rows)
        lefts, tops = (list(accumulate(lengths, initial=0)) for lengths in (widths, heights))
        return tuple(
            Area(left, top, width, height)
            for top, height in zip(tops, heights, strict=False)
            for left, width in zip(lefts, widths, strict=False)
        )


def parts(length_px: int, count: int) -> tuple[int, ...]:
    """Cut a side into `count` lengths that differ by at most one pixel, the longer ones last."""
    base, longer = divmod(length_px, count)
    return (base,) * (count - longer) + (base + 1,) * longer


OPERATION = Operation(
    name="split",
    params=SplitParams,
    summary="Cut an image into a grid of tiles; later steps run on every tile.",
    examples=(
        ["split", True],
        ["split", "3x2"],
        {"op": "split", "columns": 3, "rows": 2},
    ),
)
