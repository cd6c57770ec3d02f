"""The sizes of a batch until its headers are read, or while its store is away. Pure."""

from collections.abc import Iterable
from math import sqrt
from statistics import fmean

from muniflow.forecast.sizes import Picture, SizeSample
from muniflow.model.operation import Size

USUAL = Picture(Size(4000, 3000), "jpg")
"""A photograph of 12 megapixels."""


def guessed(count: int, known: Iterable[float]) -> SizeSample:
    """Return a sample in which all images have the mean area of other batches; where none is known, they are `USUAL`.

    Args:
        count: images of the batch.
        known: `mean_pixels` of other batches; 0 counts as not known.
    """
    areas = [area for area in known if area]
    if not areas:
        return SizeSample.of(count, (0,), (USUAL,))
    side_px = max(round(sqrt(fmean(areas))), 1)
    return SizeSample.of(count, (0,), (Picture(Size(side_px, side_px), USUAL.reads),))
