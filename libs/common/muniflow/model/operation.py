"""What an operation is to those who route it: its name, its parameters and its effect on sizes. No pixels here.

Each step package registers its `Operation` under the entry point group `muniflow.operations`. That module imports
nothing but this library, so the coordinator and the gateway can check a batch without OpenCV: they install the step
packages without their dependencies.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, ClassVar, NamedTuple, Self

from pydantic import BaseModel, ConfigDict

GROUP = "muniflow.operations"


class Size(NamedTuple):
    """Width and height of an image, in pixels."""

    width_px: int
    height_px: int

    @property
    def pixels(self) -> int:
        """The area, in pixels."""
        return self.width_px * self.height_px

    def __str__(self) -> str:
        """`200x300`, as users write sizes."""
        return f"{self.width_px}x{self.height_px}"


class Area(NamedTuple):
    """A part of an image, in its pixels."""

    left_px: float
    top_px: float
    width_px: float
    height_px: float

    @classmethod
    def all_of(cls, size: Size) -> "Area":
        """All of an image of `size`."""
        return cls(0, 0, size.width_px, size.height_px)


class Params(BaseModel):
    """The parameters of an operation: the long form, without its `op` key. Frozen; unknown fields are refused."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid", strict=True)
    SHORT: ClassVar[Mapping[str, Any]] = {}
    """JSON Schema of what `from_short` reads, as narrow as it can say; by default anything."""

    @classmethod
    def from_short(cls, value: object) -> Self:
        """Read the short form: the second element of `["resize", "200x300"]`.

        Raises:
            ValueError: the value is not a short form of this operation; the text says what is allowed.
        """
        raise NotImplementedError

    def sizes(self, source: Size) -> tuple[Size, ...]:
        """The sizes of what this step makes of an image of size `source`, in split order.

        The number of sizes is `fan_out`, whatever the source.

        Raises:
            Rejected: the step cannot be run on an image of this size.
        """
        raise NotImplementedError

    def on_reduced(self, source: Size) -> Self | None:  # noqa: ARG002 - for those who override it
        """For `decode: fast`: parameters that make the same size when `source` was decoded at 1/2, 1/4 or 1/8.

        Only a step that scales its whole input to one image has them; `None`: the source is decoded whole.
        """
        return None

    def areas(self, source: Size) -> tuple[Area, ...] | None:  # noqa: ARG002 - for those who override it
        """Which part of an image of size `source` each image that this step makes shows, in split order.

        `None`: not known, or turned or bent and not only scaled; what says where a panorama lies then goes no further.
        """
        return None

    @property
    def fan_out(self) -> int:
        """How many images this step makes of one; fixed by the parameters alone."""
        return 1


@dataclass(frozen=True)
class Operation:
    """An operation that batches may name."""

    name: str
    """As written in a batch; lower case, `[a-z][a-z0-9_]*`. Names its queue and its service, too."""
    params: type[Params]
    summary: str
    """One line for people."""
    examples: tuple[object, ...]
    """Valid entries of `operations`, short and long forms, for documentation and tests."""


Operations = Mapping[str, Operation]
"""Operations by name."""


def installed_operations() -> dict[str, Operation]:
    """The operations whose packages are installed here, by name, in alphabetical order."""
    found: list[Operation] = [entry.load() for entry in entry_points(group=GROUP)]
    return {operation.name: operation for operation in sorted(found, key=lambda operation: operation.name)}


def read_params(operation: Operation, document: Mapping[str, Any]) -> Params:
    """Read stored long-form parameters, as `RouteStep.params` carries them."""
    return operation.params.model_validate(document)
