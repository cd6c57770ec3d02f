"""The step that the entry point `muniflow.steps` names."""

from muniflow.compute.step import Step
from muniflow.images.alpha import WITH_ALPHA, mixed
from muniflow.images.opencv import cv2
from muniflow.images.types import Image, Pixels
from muniflow.model.operation import Size
from muniflow_resize.params import OPERATION, ResizeParams
from muniflow_resize.resize import resize, scale


def apply(image: Image, params: ResizeParams) -> list[Image]:
    """Resize one image; see `muniflow_resize.resize`."""
    height_px, width_px = image.shape[:2]
    (target,) = params.sizes(Size(width_px, height_px))
    if image.shape[2] == WITH_ALPHA:
        return scale_with_alpha(image, Size(width_px, height_px), params)
    return [resize(image, target)]


def on_opencl(image: cv2.UMat, size: Size, params: ResizeParams) -> list[cv2.UMat]:
    """The same on an OpenCL device."""
    (target,) = params.sizes(size)
    return [scale(image, size, target)]


def scale_with_alpha(image: Pixels, size: Size, params: ResizeParams) -> list[Pixels]:
    """Resize BGRA, in memory or on an OpenCL device."""
    (target,) = params.sizes(size)
    return [image if size == target else mixed(image, lambda plane: scale(plane, size, target))]


STEP = Step(operation=OPERATION, apply=apply, on_opencl=on_opencl, alpha=True, alpha_on_opencl=scale_with_alpha)
