"""The step that the entry point `muniflow.steps` names."""

from muniflow.compute.step import Image, Step
from muniflow_blur.blur import bilateral, gaussian, median, updownsampling
from muniflow_blur.params import OPERATION, BlurParams


def apply(image: Image, params: BlurParams) -> list[Image]:
    """Blur one image; see `muniflow_blur.blur`."""
    match params:
        case BlurParams(method="gaussian", kernel=int(kernel), sigma=float(sigma)):
            return [gaussian(image, kernel, sigma)]
        case BlurParams(method="bilateral", diameter=int(diameter), sigma_color=float(color), sigma_space=float(space)):
            return [bilateral(image, diameter, color, space)]
        case BlurParams(method="median", kernel=int(kernel)):
            return [median(image, kernel)]
        case _:
            return [updownsampling(image)]


STEP = Step(operation=OPERATION, apply=apply)
