"""A step: an operation with the pure function that computes it. Needs numpy, so only step images import this."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from muniflow.images.types import Image
from muniflow.model.operation import Operation, Size

if TYPE_CHECKING:
    from muniflow.images.opencv import cv2

GROUP = "muniflow.steps"


@dataclass(frozen=True)
class Step:
    """What a step package provides, under the entry point group `muniflow.steps`."""

    operation: Operation
    apply: Callable[[Image, Any], list[Image]]
    """`(image, params) -> images`, in split order, as many as `params.fan_out`.

    Images are BGR, or BGRA for a step that knows `alpha`. Pure: it changes neither argument. What it returns may be
    views into `image`: those travel by reference and are never copied. Raises `Rejected` when this image cannot be
    processed.
    """
    on_opencl: "Callable[[cv2.UMat, Size, Any], list[cv2.UMat]] | None" = None
    """`(image, size, params) -> images`: the same on an OpenCL device, every value within 1 gray level of `apply`.

    `size` is that of the image, which does not tell it. `None`: `apply` serves there, too, on the CPU; right for a
    step that only makes views.
    """
    alpha: bool = False
    """Whether `apply` takes BGRA, too, and never shows what alpha hides; else images that keep alpha are refused."""
    alpha_on_opencl: "Callable[[cv2.UMat, Size, Any], list[cv2.UMat]] | None" = None
    """Like `on_opencl`, for BGRA. `None`: `apply` serves, on the CPU."""
    by_reference: bool = False
    """Whether it only makes views and looks at no pixel: alone in a worker it then gets memory with anything in it."""


Steps = Mapping[str, Step]
"""Steps by the name of their operation."""


def installed_steps() -> dict[str, Step]:
    """The steps whose packages are installed here, by name, in alphabetical order."""
    found: list[Step] = [entry.load() for entry in entry_points(group=GROUP)]
    return {step.operation.name: step for step in sorted(found, key=lambda step: step.operation.name)}
