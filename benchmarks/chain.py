"""The same chain in plain OpenCV, in memory: what the floor, the Celery task and the naive pipeline compute.

It is written apart from muniflow on purpose: a contender must not get faster or slower with muniflow's own code.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from muniflow.images.limits import PIXELS_BACKSTOP

# The guard runs this chain beside muniflow in one process, and muniflow insists on this limit being there before
# anything loads OpenCV. Nothing else of muniflow's settings is taken over.
os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(PIXELS_BACKSTOP)

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Operation = Sequence[str | bool]

JPEG_QUALITY = 95
"""OpenCV's own default; muniflow's batches ask for the same."""


def decode(path: str | os.PathLike[str]) -> Pixels:
    """The picture in a file, uint8 BGR."""
    return _decode(Path(path).read_bytes(), cv2.IMREAD_COLOR)


def _decode(data: bytes, flags: int) -> Pixels:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if image is None:
        raise ValueError("not an image")
    return image  # type: ignore[return-value]


def encode(image: Pixels) -> bytes:
    """JPEG bytes."""
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise ValueError("not encoded")
    return data.tobytes()


def apply(image: Pixels, operation: Operation) -> list[Pixels]:
    """One operation on one image."""
    match tuple(operation):
        case ("resize", "50%"):
            size = (max(1, image.shape[1] // 2), max(1, image.shape[0] // 2))
            return [cv2.resize(image, size, interpolation=cv2.INTER_AREA)]  # type: ignore[list-item]
        case ("split", True):
            row, column = image.shape[0] // 2, image.shape[1] // 2
            return [image[:row, :column], image[:row, column:], image[row:, :column], image[row:, column:]]
        case ("blur", "gaussian"):
            return [cv2.GaussianBlur(image, (5, 5), 0)]  # type: ignore[list-item]
        case ("blur", "median"):
            return [cv2.medianBlur(image, 5)]  # type: ignore[list-item]
        case other:
            raise ValueError(f"the benchmarks do not know {other!r}")


def run(source: str, operations: Sequence[Operation], output: Path, *, fast: bool = False) -> None:
    """Decode `source`, run all operations, write `<stem>-<i>.jpg` below `output`.

    `fast` decodes at half the size where the first operation halves: the same rule as muniflow's `decode: fast`.
    """
    data = Path(source).read_bytes()
    if fast and operations and tuple(operations[0]) == ("resize", "50%"):
        images, rest = [_decode(data, cv2.IMREAD_REDUCED_COLOR_2)], operations[1:]
    else:
        images, rest = [_decode(data, cv2.IMREAD_COLOR)], operations
    for operation in rest:
        images = [made for image in images for made in apply(image, operation)]
    stem = Path(source).stem
    for number, image in enumerate(images):
        (output / f"{stem}-{number}.jpg").write_bytes(encode(image))
