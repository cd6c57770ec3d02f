"""The step that the entry point `muniflow.steps` names."""

from muniflow.compute.step import Image, Step
from muniflow.operation import Size
from muniflow_resize.params import OPERATION, ResizeParams
from muniflow_resize.resize import resize


def apply(image: Image, params: ResizeParams) -> list[Image]:
    """Resize one image; see `muniflow_resize.resize`."""
    height_px, width_px = image.shape[:2]
    (target,) = params.sizes(Size(width_px, height_px))
    return [resize(image, target)]


STEP = Step(operation=OPERATION, apply=apply)
