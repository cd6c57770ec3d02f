"""The parameters of `blur`, short and long. Imports no numpy: the coordinator reads batches with this."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from muniflow.model.operation import Area, Operation, Params, Size

Method = Literal["gaussian", "updownsampling", "bilateral", "median"]

MAX_KERNEL = 99
"""Of gaussian and median."""
MAX_DIAMETER = 25
"""Of bilateral, whose time grows with its square."""
MAX_SIGMA = 1000.0

DEFAULTS: Mapping[str, Mapping[str, int | float]] = {
    "gaussian": {"kernel": 5, "sigma": 0.0},
    "updownsampling": {},
    "bilateral": {"diameter": 9, "sigma_color": 75.0, "sigma_space": 75.0},
    "median": {"kernel": 5},
}
"""What each method takes, with what it is when left out."""


class BlurParams(Params):
    """A method and its parameters; those left out get their defaults, those of another method are refused."""

    SHORT: ClassVar[Mapping[str, Any]] = {"enum": list(DEFAULTS)}

    method: Method = Field(description="Which blur.")
    kernel: int | None = Field(
        default=None, ge=3, le=MAX_KERNEL, description="gaussian, median: side of the window in pixels; odd."
    )
    sigma: float | None = Field(
        default=None, ge=0, le=MAX_SIGMA, description="gaussian: deviation in pixels; 0 derives it from the kernel."
    )
    diameter: int | None = Field(default=None, ge=1, le=MAX_DIAMETER, description="bilateral: in pixels.")
    sigma_color: float | None = Field(
        default=None, gt=0, le=MAX_SIGMA, description="bilateral: how different, in gray levels, pixels may be to mix."
    )
    sigma_space: float | None = Field(
        default=None, gt=0, le=MAX_SIGMA, description="bilateral: how far apart, in pixels, pixels may be to mix."
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, document: Any) -> Any:
        """Complete the parameters, so that a short form and its long form are one and the same step."""
        if isinstance(document, dict) and document.get("method") in list(DEFAULTS):
            return {**DEFAULTS[document["method"]], **document}
        return document

    @model_validator(mode="after")
    def _only_its_own(self) -> Self:
        takes = DEFAULTS[self.method]
        for name, value in self:
            if name == "method":
                continue
            if value is not None and name not in takes:
                raise ValueError(f"{self.method} takes no `{name}`; it takes {_names(takes)}")
            if value is None and name in takes:
                raise ValueError(f"{self.method} needs a `{name}`; leave it out for {takes[name]}")
        if self.kernel is not None and self.kernel % 2 == 0:
            raise ValueError(f"`kernel` is odd, 3 to {MAX_KERNEL}; {self.kernel} has no middle")
        return self

    @classmethod
    def from_short(cls, value: object) -> Self:
        """Read the name of a method.

        Raises:
            ValueError: anything else; the text shows what is allowed.
        """
        if not isinstance(value, str) or value not in DEFAULTS:
            raise ValueError(f"{value!r} is no blur; write one of {', '.join(DEFAULTS)}")
        return cls.model_validate({"method": value})

    def sizes(self, source: Size) -> tuple[Size, ...]:
        """The size of `source`: a blur keeps it."""
        return (source,)

    def areas(self, source: Size) -> tuple[Area, ...]:
        """All of it."""
        return (Area.all_of(source),)


def _names(takes: Mapping[str, object]) -> str:
    return ", ".join(f"`{name}`" for name in takes) or "no parameters"


OPERATION = Operation(
    name="blur",
    params=BlurParams,
    summary="Blur an image: gaussian, updownsampling, bilateral or median.",
    examples=(
        ["blur", "gaussian"],
        ["blur", "updownsampling"],
        ["blur", "bilateral"],
        ["blur", "median"],
        {"op": "blur", "method": "gaussian", "kernel": 15, "sigma": 3.5},
        {"op": "blur", "method": "bilateral", "diameter": 9, "sigma_color": 75, "sigma_space": 75},
        {"op": "blur", "method": "median", "kernel": 7},
    ),
)
