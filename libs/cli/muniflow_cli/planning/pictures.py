"""Generated sources that take a codec about as long as photographs: smooth shapes, edges and sensor noise."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from muniflow.images.encode import encode
from muniflow.images.opencv import cv2
from muniflow.images.types import Image
from muniflow.model.messages import IMAGE_FORMATS, Encoding
from muniflow_cli.planning.readings import source_key

NOISE = 5.0
"""Standard deviation of the sensor noise, in gray levels."""
SOURCE_QUALITY = 90


def photograph(width_px: int, height_px: int, seed: int = 0) -> Image:
    """A picture with as much detail as a photograph; uint8 BGR, shape (height, width, 3)."""
    dice = np.random.default_rng(seed)
    total = np.full((height_px, width_px, 3), 128.0, np.float32)
    cells = 4
    while cells < max(width_px, height_px):
        # Each finer pattern is half as strong: the spectrum of natural pictures.
        pattern = dice.normal(0.0, 160.0 / cells, (cells, cells, 3)).astype(np.float32)
        total += cv2.resize(pattern, (width_px, height_px), interpolation=cv2.INTER_LINEAR)
        cells *= 2
    total += dice.normal(0.0, NOISE, total.shape).astype(np.float32)
    return np.clip(total, 0, 255).astype(np.uint8)


def write_sources(folder: Path, sides_px: Sequence[int]) -> None:
    """Write a square picture of each side in each format that is read."""
    folder.mkdir(parents=True, exist_ok=True)
    for side_px in sides_px:
        image = photograph(side_px, side_px)
        for suffix in IMAGE_FORMATS:
            quality = SOURCE_QUALITY if suffix != "png" else None
            data = encode(image, Encoding(format=suffix, quality=quality))
            (folder / source_key(side_px, suffix)).write_bytes(data)
        done, tiff = cv2.imencode(".tiff", image, [cv2.IMWRITE_TIFF_COMPRESSION, 1])
        if done:
            (folder / source_key(side_px, "tiff")).write_bytes(tiff.tobytes())
