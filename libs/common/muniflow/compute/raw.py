"""Raw pixels in the work store: views are loaded without a copy, and sent on by reference where possible.

A `Region` is the memory that a blob holds or will hold. Whether an array is a view into it is found by comparing
addresses, so any step may return views, of its input or of one array that it made.
"""

from dataclasses import dataclass

import numpy as np

from muniflow.compute.step import Image
from muniflow.errors import Rejected
from muniflow.messages import RawRef
from muniflow.store.types import Store

CHANNELS = 3


@dataclass(slots=True)
class Region:
    """A stretch of memory, and the blob that has the same bytes."""

    array: Image
    """Keeps the memory alive; views into it are recognised by their addresses."""
    key: str
    address: int
    size_bytes: int
    offset_bytes: int = 0
    """Where the memory begins in the blob."""
    stored: bool = False
    """Whether the blob is in the work store already."""


def load(ref: RawRef, work: Store) -> tuple[Image, Region]:
    """Read the pixels that `ref` names: only its own rows, and mapped where the store can.

    Returns:
        The image, read-only uint8 BGR of shape (height_px, width_px, 3), and its memory.

    Raises:
        NotFound: the blob is gone.
        Rejected: the blob is shorter than `ref` says, or `ref` has rows that overlap.
        Unavailable: the store is away.
    """
    row_bytes = ref.width_px * CHANNELS
    if ref.stride_bytes < row_bytes:
        raise Rejected(f"raw pixels in {ref.key}: rows of {row_bytes} bytes cannot be {ref.stride_bytes} bytes apart")
    size_bytes = (ref.height_px - 1) * ref.stride_bytes + row_bytes
    data = work.read(ref.key, ref.offset_bytes, size_bytes)
    image: Image = np.ndarray(
        (ref.height_px, ref.width_px, CHANNELS), np.uint8, buffer=data, strides=(ref.stride_bytes, CHANNELS, 1)
    )
    region = Region(image, ref.key, address_of(image), size_bytes, offset_bytes=ref.offset_bytes, stored=True)
    return image, region


def region_of(array: Image, key: str) -> Region:
    """The memory of a contiguous array that is not stored yet; `key` is where it would go."""
    return Region(array, key, address_of(array), array.nbytes)


def write(region: Region, work: Store) -> None:
    """Put a region into the work store, once; contiguous memory is written without a copy."""
    if not region.stored:
        work.write(region.key, region.array.reshape(-1).data)
        region.stored = True


def reference(view: Image, region: Region) -> RawRef | None:
    """How `region`'s blob holds `view`, or `None` when the view is not inside it, row by row."""
    height_px, width_px, channels = view.shape
    row_bytes = width_px * CHANNELS
    stride_bytes = view.strides[0] if height_px > 1 else row_bytes
    if channels != CHANNELS or not height_px or not width_px or view.dtype != np.uint8:
        return None
    if view.strides[2] != 1 or (width_px > 1 and view.strides[1] != CHANNELS) or stride_bytes < row_bytes:
        return None
    start = address_of(view) - region.address
    end = start + (height_px - 1) * stride_bytes + row_bytes
    if start < 0 or end > region.size_bytes:
        return None
    return RawRef(
        key=region.key,
        width_px=width_px,
        height_px=height_px,
        stride_bytes=stride_bytes,
        offset_bytes=region.offset_bytes + start,
    )


def owner_of(array: Image) -> Image:
    """The array that owns the memory of a view."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def address_of(array: Image) -> int:
    """Where the first pixel is, as a number."""
    return int(array.__array_interface__["data"][0])
