"""The pixels of `split`: none are touched."""

from itertools import accumulate, pairwise

from muniflow.images.types import Image
from muniflow_split.params import parts


def split(image: Image, columns: int, rows: int) -> list[Image]:
    """Cut `image` into a grid.

    Args:
        image: uint8 BGR, shape (H, W, 3), with W >= columns and H >= rows.
        columns: tiles side by side.
        rows: tiles one below the other.

    Returns:
        Views into `image`, nothing is copied: row by row, each from left to right. Side lengths differ by at most
        one pixel, the longer ones last.
    """
    height_px, width_px = image.shape[:2]
    edges_x = tuple(accumulate(parts(width_px, columns), initial=0))
    edges_y = tuple(accumulate(parts(height_px, rows), initial=0))
    return [image[top:bottom, left:right] for top, bottom in pairwise(edges_y) for left, right in pairwise(edges_x)]
