"""Steps for tests, well-behaved and not; a fork server imports this module by its name."""

import mmap
import os
import time

import numpy as np

from muniflow.compute.step import Step
from muniflow.errors import Rejected
from muniflow.images.opencv import cv2
from muniflow.images.types import Image
from muniflow.model.operation import Area, Operation, Params, Size


class Plain(Params):
    """One image in, one of the same size out."""

    width_px: int | None = None
    """Misbehave only on images of this width."""
    seconds: float = 0.0

    @classmethod
    def from_short(cls, value: object) -> "Plain":
        return cls() if value is True else cls.model_validate(value)

    def sizes(self, source: Size) -> tuple[Size, ...]:
        return (source,)

    def areas(self, source: Size) -> tuple[Area, ...]:
        return (Area.all_of(source),)

    def hits(self, image: Image) -> bool:
        return self.width_px is None or image.shape[1] == self.width_px


class Half(Plain):
    def sizes(self, source: Size) -> tuple[Size, ...]:
        return (Size(max(source.width_px // 2, 1), max(source.height_px // 2, 1)),)

    def on_reduced(self, source: Size) -> "Exact":
        (target,) = self.sizes(source)
        return Exact(to_width_px=target.width_px, to_height_px=target.height_px)


class Exact(Half):
    to_width_px: int
    to_height_px: int

    def sizes(self, source: Size) -> tuple[Size, ...]:  # noqa: ARG002 - fixed
        return (Size(self.to_width_px, self.to_height_px),)


class Double(Plain):
    def sizes(self, source: Size) -> tuple[Size, ...]:
        return (Size(source.width_px * 2, source.height_px * 2),)


class Quarter(Plain):
    copies: bool = False

    def sizes(self, source: Size) -> tuple[Size, ...]:
        if min(source) < 2:
            raise Rejected(f"{source} is too small to cut")
        left, top = source.width_px // 2, source.height_px // 2
        right, bottom = source.width_px - left, source.height_px - top
        return (Size(left, top), Size(right, top), Size(left, bottom), Size(right, bottom))

    def areas(self, source: Size) -> tuple[Area, ...]:
        left, top = source.width_px // 2, source.height_px // 2
        right, bottom = source.width_px - left, source.height_px - top
        top_half = Area(0, 0, left, top), Area(left, 0, right, top)
        return (*top_half, Area(0, top, left, bottom), Area(left, top, right, bottom))

    @property
    def fan_out(self) -> int:
        return 4


def half(image: Image, params: Half) -> list[Image]:
    (size,) = params.sizes(Size(image.shape[1], image.shape[0]))
    rows = np.arange(size.height_px) * image.shape[0] // size.height_px
    columns = np.arange(size.width_px) * image.shape[1] // size.width_px
    return [image[rows][:, columns]]


def double(image: Image, _params: Double) -> list[Image]:
    return [image.repeat(2, axis=0).repeat(2, axis=1)]


def quarter(image: Image, params: Quarter) -> list[Image]:
    left, top = image.shape[1] // 2, image.shape[0] // 2
    tiles = [image[:top, :left], image[:top, left:], image[top:, :left], image[top:, left:]]
    return [tile.copy() for tile in tiles] if params.copies else tiles


def smooth(image: Image, _params: Plain) -> list[Image]:
    # Depends on each tile's own border, so a mistake in a view shows.
    padded = np.pad(image.astype(np.uint16), ((1, 1), (1, 1), (0, 0)), mode="edge")
    return [((padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]) // 4).astype(np.uint8)]


def abort(image: Image, params: Plain) -> list[Image]:
    if params.hits(image):
        os.abort()
    return [image]


def hang(image: Image, params: Plain) -> list[Image]:
    if params.hits(image):
        time.sleep(600)
    return [image]


def spin(image: Image, params: Plain) -> list[Image]:
    while params.hits(image):
        pass
    return [image]


def nap(image: Image, params: Plain) -> list[Image]:
    if params.hits(image):
        time.sleep(params.seconds)
    return [image]


def greedy(image: Image, params: Plain) -> list[Image]:
    if params.hits(image):
        np.ones(2**60, np.uint8)  # more than there are addresses, however a machine is set up
    return [image]


def refuse(image: Image, params: Plain) -> list[Image]:
    if params.hits(image):
        raise Rejected("this operation refuses")
    return [image]


def broken(image: Image, params: Plain) -> list[Image]:
    if params.hits(image):
        raise ZeroDivisionError("a bug")
    return [image]


def liar(image: Image, _params: Plain) -> list[Image]:
    return [image, image]


def _step(name: str, params: type[Params], apply: object) -> Step:
    return Step(Operation(name, params, f"{name}, for tests", ([name, True],)), apply, alpha=True)  # type: ignore[arg-type]


def steps() -> dict[str, Step]:
    plain = {
        "smooth": smooth, "abort": abort, "hang": hang, "spin": spin, "nap": nap, "greedy": greedy, "refuse": refuse,
        "broken": broken, "liar": liar,
    }  # fmt: skip
    found = [_step(name, Plain, apply) for name, apply in plain.items()]
    found += [_step("half", Half, half), _step("double", Double, double), _step("quarter", Quarter, quarter)]
    return {step.operation.name: step for step in found}


def reserve(image: Image, _params: Plain) -> list[Image]:
    # As drivers of GPUs do: addresses, and no memory behind them.
    with mmap.mmap(-1, 64 * 2**30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=0):
        return [image]


def lost(image: cv2.UMat, _size: Size, params: Plain) -> list[cv2.UMat]:
    if params.seconds:  # stands for "only at first": a later task has none
        error = cv2.error("no such device any more")
        error.code, error.err = cv2.Error.OpenCLApiCallError, "CL_DEVICE_NOT_AVAILABLE"
        raise error
    return [image]


def opencl_steps() -> dict[str, Step]:
    """Those of `steps`, and some that are only for children with `device="opencl"`."""
    gone = Step(Operation("lost", Plain, "lost, for tests", (["lost", True],)), broken, lost)
    return {**steps(), "reserve": _step("reserve", Plain, reserve), "lost": gone}


def no_steps() -> dict[str, Step]:
    raise ImportError("a step package is broken")
