"""How many images of one batch may be in flight (docs/adr/0017-window-of-small-images.md). Pure."""

SMALL_PIXELS = 2**20
"""Of an image: where they have fewer, more may be in flight. From here on, more would bring nothing."""
WIDEST = 4
"""How many times as many; more would bring nothing."""


def window_for(images: int, mean_pixels: float | None) -> int:
    """The images of a batch that may be in flight at a time: more where they are small, with no more pixels together.

    Args:
        images: that may be in flight whatever their size.
        mean_pixels: of an image of the batch; `None` where it is not known yet.
    """
    if not mean_pixels:
        return images
    return max(images, min(WIDEST * images, int(images * SMALL_PIXELS / mean_pixels)))
