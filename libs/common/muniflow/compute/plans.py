"""What a route step does to an image of one size: worked out once, and not again for each of a million tasks."""

from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from pydantic import ValidationError

from muniflow.compute.step import Step, Steps
from muniflow.errors import Rejected
from muniflow.forecast.price import step_seconds
from muniflow.images.alpha import WITH_ALPHA
from muniflow.images.limits import ImageLimits, setting
from muniflow.images.types import Image
from muniflow.model.lineage import Lineage
from muniflow.model.messages import RouteStep
from muniflow.model.operation import Params, Size, read_params

TILE_SLACK = 1.125
"""Tiles of one split differ by a pixel a side: the largest one must not stand for all of them."""
MAX_KEPT = 512
MAX_KEPT_IMAGES = 64
"""A plan that makes more is dear to keep, and cheap beside what it makes."""
_UINT8 = np.dtype(np.uint8)

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StepPlan:
    """One step on an image of one size."""

    step: Step
    params: Params
    made: list[tuple[Shape, Any]]
    """Shape and type of each image that it makes."""
    made_px: int
    """Pixels of all of them."""
    seconds: float
    """What it takes, by the documented costs."""

    def require(self, limits: ImageLimits, source_px: int, lineage: Lineage) -> None:
        """Refuse what would be too much of one image, all parts like this one together.

        Args:
            limits: of one image.
            source_px: pixels of the source.
            lineage: of this part.

        Raises:
            Rejected: it would be made into too many pixels, or take too long.
        """
        siblings = prod(of for _, of in lineage) / TILE_SLACK if lineage else 1
        # What fits into one image is never too large: nearly always that is all there is to see.
        large = self.made_px * siblings > limits.max_pixels and limits.too_large(self.made_px * siblings, source_px)
        if problem := large or limits.too_long(self.seconds * siblings):
            raise problem

    def run(self, image: Image) -> list[Image]:
        """Compute the step.

        Raises:
            Rejected: it cannot be run on this image.
            RuntimeError: the step broke its contract, which is a bug and must not reach a cut of the ledger.
        """
        if image.shape[2] == WITH_ALPHA and not self.step.alpha:
            raise Rejected(
                f"{self.step.operation.name} does not know alpha; write `alpha` as `flatten`",
                reason_code="operation_refused",
            )
        images = self.step.apply(image, self.params)
        found = [(image.shape, image.dtype) for image in images]
        if found != self.made:
            raise RuntimeError(f"step {self.step.operation.name} made {found} instead of {self.made}")
        return images


@dataclass
class Plans:
    """The plans, and the parsed parameters, of the steps seen last."""

    steps: Steps
    max_pixels: int
    """Of any image that a step makes."""
    _params: dict[tuple[str, str], Params] = field(default_factory=dict)
    _plans: dict[tuple[str, str, int, Shape], StepPlan] = field(default_factory=dict)

    def params(self, step: RouteStep) -> Params:
        """The parameters of a route step.

        Raises:
            Rejected: the operation is not here, or its parameters are wrong.
        """
        key = (step.op, repr(step.params))  # five times as fast as JSON; in another order it is parsed once more
        if key not in self._params:
            if len(self._params) >= MAX_KEPT:
                self._params.clear()
            self._params[key] = self._parse(step)
        return self._params[key]

    def of(self, step: RouteStep, shape: Shape) -> StepPlan:
        """The plan of a route step for images of this shape.

        Raises:
            Rejected: like `params` and `plan`.
        """
        if step.fan_out > MAX_KEPT_IMAGES:
            return self.plan(step, self.params(step), shape)
        key = (step.op, repr(step.params), step.fan_out, shape)
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= MAX_KEPT:
                self._plans.clear()
            plan = self._plans[key] = self.plan(step, self.params(step), shape)
        return plan

    def plan(self, step: RouteStep, params: Params, shape: Shape) -> StepPlan:
        """The plan of a route step with other parameters than its own.

        Raises:
            Rejected: it cannot be run on an image of this shape, or makes one that is too large.
        """
        height_px, width_px, channels = shape
        sizes = params.sizes(Size(width_px, height_px))
        for size in sizes:
            if size.pixels > self.max_pixels:
                raise Rejected(
                    f"{step.op} would make {size} px, {size.pixels} in all; the limit is {self.max_pixels} pixels "
                    f"{setting('max_pixels')}",
                    reason_code="output_too_large",
                )
        if len(sizes) != step.fan_out:
            raise RuntimeError(f"step {step.op} makes {len(sizes)} images, and its route says {step.fan_out}")
        made: list[tuple[Shape, Any]] = [((size.height_px, size.width_px, channels), _UINT8) for size in sizes]
        made_px = sum(size.pixels for size in sizes)
        return StepPlan(self.steps[step.op], params, made, made_px, step_seconds(step, height_px * width_px, made_px))

    def _parse(self, step: RouteStep) -> Params:
        if step.op not in self.steps:
            raise Rejected(
                f"operation {step.op!r} is not installed here; installed: {', '.join(self.steps)}",
                reason_code="operation_unknown",
            )
        try:
            return read_params(self.steps[step.op].operation, step.params)
        except ValidationError as error:
            problems = "; ".join(item["msg"] for item in error.errors(include_url=False))
            raise Rejected(f"parameters of {step.op}: {problems}", reason_code="operation_unknown") from None
