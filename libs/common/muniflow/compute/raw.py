"""Raw pixels in the work store: views are loaded without a copy, and sent on by reference where possible.

A `Region` is the memory that a blob holds or will hold. Whether an array is a view into it is found by comparing
addresses, so any step may return views, of its input or of one array that it made.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from muniflow.errors import Rejected
from muniflow.images.alpha import WITH_ALPHA
from muniflow.images.types import Image
from muniflow.model.lineage import Lineage
from muniflow.model.messages import RawRef, Tile
from muniflow.store.types import Store

_CHANNELS = frozenset({3, WITH_ALPHA})
MAX_WASTE = 2.0
"""Tiles are read and written as one stretch of bytes, unless it is longer than all of them by more than this factor."""


@dataclass(slots=True)
class Region:
    """A stretch of memory, and the blob that has the same bytes."""

    array: Image
    """Keeps the memory alive; views into it are recognised by their addresses."""
    key: str
    lineage: Lineage
    """The part of the image that it holds."""
    address: int
    size_bytes: int
    offset_bytes: int = 0
    """Where the memory begins in the blob."""
    stored: bool = False
    """Whether the blob is in the work store already."""


Read = Callable[[str, int, int], memoryview]
"""`(key, offset_bytes, length_bytes) -> bytes`, as `Store.read`."""


def unread(_key: str, _offset_bytes: int, length_bytes: int) -> memoryview:
    """Memory for pixels at which nobody looks: only where they are counts."""
    return np.empty(length_bytes, np.uint8).data


def load(tiles: Sequence[Tile], read: Read) -> list[tuple[Image, Region]]:
    """Read the pixels of `tiles`: their own rows, or one stretch that holds them; mapped where the store can.

    Args:
        tiles: of one task.
        read: how to; `unread` is one way.

    Returns:
        For each tile its image, read-only uint8 of shape (height_px, width_px, 3 or 4), and its memory. Tiles of one
        blob that lie together are read at once and share their memory.

    Raises:
        NotFound: the blob is gone, or shorter than a reference says.
        Rejected: a reference has rows that overlap.
        Unavailable: the store is away.
    """
    spans = [(tile.pixels.offset_bytes, tile.pixels.offset_bytes + _size_bytes(tile.pixels)) for tile in tiles]
    first, last = min(start for start, _ in spans), max(end for _, end in spans)
    used_bytes = sum(tile.pixels.size_px * tile.pixels.channels for tile in tiles)
    together = len({tile.pixels.key for tile in tiles}) == 1 and last - first <= MAX_WASTE * used_bytes
    if len(tiles) > 1 and not together:
        return [loaded for tile in tiles for loaded in load([tile], read)]
    data = read(tiles[0].pixels.key, first, last - first)
    views = [_view(data, tile.pixels, start - first) for tile, (start, _) in zip(tiles, spans, strict=True)]
    address = address_of(views[0]) - (spans[0][0] - first)
    return [
        (view, Region(view, tile.pixels.key, tile.lineage, address, last - first, offset_bytes=first, stored=True))
        for view, tile in zip(views, tiles, strict=True)
    ]


def _size_bytes(ref: RawRef) -> int:
    row_bytes = ref.width_px * ref.channels
    if ref.stride_bytes < row_bytes:
        raise Rejected(
            f"raw pixels in {ref.key}: rows of {row_bytes} bytes cannot be {ref.stride_bytes} bytes apart",
            reason_code="internal_error",
        )
    return (ref.height_px - 1) * ref.stride_bytes + row_bytes


def _view(data: memoryview, ref: RawRef, start_bytes: int) -> Image:
    shape = ref.height_px, ref.width_px, ref.channels
    strides = ref.stride_bytes, ref.channels, 1
    return np.ndarray(shape, np.uint8, buffer=data, offset=start_bytes, strides=strides)


def region_of(array: Image, key: str, lineage: Lineage) -> Region:
    """The memory of a contiguous array that is not stored yet; `key` is where it would go."""
    return Region(array, key, lineage, address_of(array), array.nbytes)


def place(
    images: Sequence[Image], lineages: Sequence[Lineage], parent: Region, made: Lineage, key: Callable[[Lineage], str]
) -> list[tuple[Image, Region]]:
    """The memory of each image that a step made: of its input, of one array that holds them all, or of its own.

    Args:
        images: what the step returned.
        lineages: theirs.
        parent: the memory of the step's input.
        made: the lineage of the step's input.
        key: the key of an intermediate of this step.

    Returns:
        Each image (copied where it was not contiguous and no view) with its memory.
    """
    if all(start_in(image, parent) is not None for image in images):
        return [(image, parent) for image in images]
    owner = owner_of(images[0])
    if len(images) > 1 and owner.flags.c_contiguous and owner.dtype == np.uint8:
        region = region_of(owner, key(made), made)
        fits = owner.nbytes <= MAX_WASTE * sum(image.nbytes for image in images)
        if fits and all(start_in(image, region) is not None for image in images):
            return [(image, region) for image in images]
    contiguous = [np.ascontiguousarray(image) for image in images]
    return [
        (image, region_of(image, key(lineage), lineage)) for image, lineage in zip(contiguous, lineages, strict=True)
    ]


def write(region: Region, work: Store) -> None:
    """Put a region into the work store, once; contiguous memory is written without a copy."""
    if not region.stored:
        work.write(region.key, region.array.reshape(-1).data)
        region.stored = True


def start_in(view: Image, region: Region) -> int | None:
    """Where in `region` a view begins, in bytes; `None` when it is not inside it, row by row."""
    height_px, width_px, channels = view.shape
    if channels not in _CHANNELS or not height_px or not width_px or view.dtype != np.uint8:
        return None
    row_bytes = width_px * channels
    stride_bytes, pixel_bytes, channel_bytes = view.strides
    if channel_bytes != 1 or (width_px > 1 and pixel_bytes != channels) or (height_px > 1 and stride_bytes < row_bytes):
        return None
    start = address_of(view) - region.address
    used_bytes = row_bytes if height_px == 1 else (height_px - 1) * stride_bytes + row_bytes
    return start if 0 <= start <= region.size_bytes - used_bytes else None


def reference(view: Image, region: Region) -> RawRef:
    """How `region`'s blob holds `view`, which is inside it."""
    start = start_in(view, region)
    if start is None:
        raise RuntimeError(f"an image of shape {view.shape} is not in {region.key}")
    height_px, width_px, channels = view.shape
    return RawRef(
        key=region.key,
        width_px=width_px,
        height_px=height_px,
        stride_bytes=view.strides[0] if height_px > 1 else width_px * channels,
        offset_bytes=region.offset_bytes + start,
        alpha=True if channels == WITH_ALPHA else None,
    )


def owner_of(array: Image) -> Image:
    """The array that owns the memory of a view."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def address_of(array: Image) -> int:
    """Where the first pixel is, as a number."""
    return int(array.__array_interface__["data"][0])
