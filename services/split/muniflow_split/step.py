"""The step that the entry point `muniflow.steps` names."""

from muniflow.compute.step import Step
from muniflow.images.types import Image
from muniflow.model.operation import Size
from muniflow_split.params import OPERATION, SplitParams
from muniflow_split.split import split


def apply(image: Image, params: SplitParams) -> list[Image]:
    """Split one image; see `muniflow_split.split`."""
    height_px, width_px = image.shape[:2]
    params.require(Size(width_px, height_px))
    return split(image, params.columns, params.rows)


STEP = Step(operation=OPERATION, apply=apply, alpha=True, by_reference=True)
