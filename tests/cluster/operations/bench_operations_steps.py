"""What the operations do: sleep."""

import time

from bench_operations import CUT as CUT_OPERATION
from bench_operations import SHRINK as SHRINK_OPERATION
from bench_operations import SOFTEN as SOFTEN_OPERATION
from bench_operations import Nap

from muniflow.compute.step import Step
from muniflow.images.types import Image


def nap(image: Image, params: Nap) -> list[Image]:
    """The image, later."""
    time.sleep(params.seconds)
    return [image]


def cut(image: Image, params: Nap) -> list[Image]:
    """Its halves, later."""
    time.sleep(params.seconds)
    middle = image.shape[1] // 2
    return [image[:, :middle], image[:, middle:]]


SHRINK, SOFTEN = (Step(operation=operation, apply=nap) for operation in (SHRINK_OPERATION, SOFTEN_OPERATION))
CUT = Step(operation=CUT_OPERATION, apply=cut)
