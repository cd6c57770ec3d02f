"""The step that the entry point `muniflow.steps` names."""

from collections.abc import Callable

from muniflow.compute.step import Step
from muniflow.images.alpha import WITH_ALPHA, aside, mixed, picked
from muniflow.images.opencv import cv2
from muniflow.images.types import Image, Pixels
from muniflow.model.operation import Size
from muniflow_blur.blur import bilateral, gaussian, median, updownsampling
from muniflow_blur.params import OPERATION, BlurParams


def apply(image: Image, params: BlurParams) -> list[Image]:
    """Blur one image; see `muniflow_blur.blur`."""
    height_px, width_px = image.shape[:2]
    if image.shape[2] == WITH_ALPHA:
        return blur_with_alpha(image, Size(width_px, height_px), params)
    return [blur(image, Size(width_px, height_px), params)]


def on_opencl(image: cv2.UMat, size: Size, params: BlurParams) -> list[cv2.UMat]:
    """The same on an OpenCL device."""
    return [blur(image, size, params)]


def blur(image: Pixels, size: Size, params: BlurParams) -> Pixels:
    """Blur an image of `size` in the way that `params` name."""
    # Not as patterns of the class itself: pydantic makes `isinstance` dear, and tiles are many.
    match params.method, params.kernel, params.sigma:
        case "gaussian", int(kernel), float(sigma):
            return gaussian(image, kernel, sigma)
        case "median", int(kernel), _:
            return median(image, kernel)
    match params.method, params.diameter, params.sigma_color, params.sigma_space:
        case "bilateral", int(diameter), float(color), float(space):
            return bilateral(image, diameter, color, space)
    return updownsampling(image, size)


def blur_with_alpha(image: Pixels, size: Size, params: BlurParams) -> list[Pixels]:
    """Blur BGRA, in memory or on an OpenCL device."""
    ways: dict[str, Callable[[Pixels, Callable[[Pixels], Pixels]], Pixels]] = {"bilateral": aside, "median": picked}
    return [ways.get(params.method, mixed)(image, lambda pixels: blur(pixels, size, params))]


STEP = Step(operation=OPERATION, apply=apply, on_opencl=on_opencl, alpha=True, alpha_on_opencl=blur_with_alpha)
