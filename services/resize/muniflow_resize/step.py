"""The step that the entry point `muniflow.steps` names."""

from muniflow.compute.step import Step
from muniflow.images.opencv import cv2
from muniflow.images.types import Image
from muniflow.model.operation import Size
from muniflow_resize.params import OPERATION, ResizeParams
from muniflow_resize.resize import resize, scale


def apply(image: Image, params: ResizeParams) -> list[Image]:
    """Resize one image; see `muniflow_resize.resize`."""
    height_px, width_px = image.shape[:2]
    (target,) = params.sizes(Size(width_px, height_px))
    return [resize(image, target)]


def on_opencl(image: cv2.UMat, size: Size, params: ResizeParams) -> list[cv2.UMat]:
    """The same on an OpenCL device."""
    (target,) = params.sizes(size)
    return [scale(image, size, target)]


STEP = Step(operation=OPERATION, apply=apply, on_opencl=on_opencl)
