"""The step that the entry point `muniflow.steps` names."""

from muniflow.compute.step import Image, Pixels, Step
from muniflow.images.opencv import cv2
from muniflow.operation import Size
from muniflow_blur.blur import bilateral, gaussian, median, updownsampling
from muniflow_blur.params import OPERATION, BlurParams


def apply(image: Image, params: BlurParams) -> list[Image]:
    """Blur one image; see `muniflow_blur.blur`."""
    height_px, width_px = image.shape[:2]
    return [blur(image, Size(width_px, height_px), params)]


def on_opencl(image: cv2.UMat, size: Size, params: BlurParams) -> list[cv2.UMat]:
    """The same on an OpenCL device."""
    return [blur(image, size, params)]


def blur(image: Pixels, size: Size, params: BlurParams) -> Pixels:
    """Blur an image of `size` in the way that `params` name."""
    match params:
        case BlurParams(method="gaussian", kernel=int(kernel), sigma=float(sigma)):
            return gaussian(image, kernel, sigma)
        case BlurParams(method="bilateral", diameter=int(diameter), sigma_color=float(color), sigma_space=float(space)):
            return bilateral(image, diameter, color, space)
        case BlurParams(method="median", kernel=int(kernel)):
            return median(image, kernel)
        case _:
            return updownsampling(image, size)


STEP = Step(operation=OPERATION, apply=apply, on_opencl=on_opencl)
