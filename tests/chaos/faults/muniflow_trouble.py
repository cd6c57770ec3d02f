"""An operation that does to its process what a bad decoder does: by the width of the image, or nothing at all."""

import os
import signal
import time
from collections.abc import Callable

import numpy as np

from muniflow.compute.step import Step
from muniflow.images.types import Image
from muniflow.model.operation import Operation, Params, Size


class TroubleParams(Params):
    @classmethod
    def from_short(cls, value: object) -> "TroubleParams":
        if value is not True:
            raise ValueError("write true")
        return cls()

    def sizes(self, source: Size) -> tuple[Size, ...]:
        return (source,)


def hang() -> None:
    while True:
        time.sleep(600)


def spin() -> None:
    while True:
        pass


def hog() -> None:
    kept = []
    while True:
        kept.append(np.ones(64 * 2**20, np.uint8))


TROUBLES: dict[int, tuple[str, Callable[[], None]]] = {
    301: ("abort", os.abort),
    302: ("hang", hang),
    303: ("spin", spin),
    304: ("hog", hog),
    305: ("killed", lambda: os.kill(os.getpid(), signal.SIGKILL)),
}
"""By the width of the image that brings it about, in pixels."""
WHOLE_WORKER_WIDTH_PX = 306
"""An image of this width takes the whole worker along, as the kernel does where it kills a container as a group."""


def apply(image: Image, _params: TroubleParams) -> list[Image]:
    width_px = image.shape[1]
    if width_px in TROUBLES:
        TROUBLES[width_px][1]()
    if width_px == WHOLE_WORKER_WIDTH_PX:
        os.killpg(os.getpgrp(), signal.SIGKILL)
    return [image]


OPERATION = Operation("trouble", TroubleParams, "Trouble, for tests.", (["trouble", True],))
STEP = Step(operation=OPERATION, apply=apply)
