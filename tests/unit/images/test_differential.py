"""A file is refused, or has exactly the pixels that other decoders see in the same bytes."""

import numpy as np
import pytest
from tests.unit.images import corpus
from tests.unit.images.corpus import Cell

from muniflow.errors import Rejected
from muniflow.images.decode import decode
from muniflow.images.limits import ImageLimits

LIMITS = ImageLimits(formats=("jpeg", "png", "webp", "tiff"), max_pixels=10**6)
DAMAGES = 50


def alike(cell: Cell, image: np.ndarray, seen: np.ndarray | str) -> bool:
    if isinstance(seen, str) or seen.shape != image.shape:
        return False
    return int(np.abs(seen.astype(int) - image).max()) <= cell.off_by


@pytest.mark.parametrize("cell", corpus.cells(), ids=str)
def test_a_whole_file_has_the_pixels_of_every_reference(cell: Cell):
    image = decode(memoryview(cell.data), LIMITS)
    for name, seen in corpus.references(cell, cell.data).items():
        assert alike(cell, image, seen), f"{name}: {seen}"


@pytest.mark.parametrize("cell", corpus.cells(), ids=str)
def test_a_damaged_file_is_refused_or_has_the_pixels_of_a_reference(cell: Cell):
    refused, equal, wrong = 0, 0, []
    for seed in range(DAMAGES):
        data = corpus.damaged(cell, seed)
        try:
            image = decode(memoryview(data), LIMITS)
        except Rejected:
            refused += 1
            continue
        seen = corpus.references(cell, data)
        if any(alike(cell, image, pixels) for pixels in seen.values()):
            equal += 1
        else:
            wrong.append((seed, {name: pixels for name, pixels in seen.items() if isinstance(pixels, str)}))
    print(f"{cell}: {refused} refused, {equal} equal, {len(wrong)} wrong")  # noqa: T201 - `-rP` shows it
    assert not wrong, f"{len(wrong)} of {DAMAGES} done with other pixels (seeds and what the references say): {wrong}"


CHECKED = ("tiff-lzw", "tiff-deflate")


@pytest.mark.parametrize("cell", [cell for cell in corpus.cells() if cell.name.startswith(CHECKED)], ids=str)
def test_forty_damaged_bytes_in_a_strip_or_tile_are_refused(cell: Cell):
    """In the middle of its data: Deflate has a checksum, and LZW would have to end at the same byte."""
    block = corpus.middle_block(cell)
    data = bytearray(cell.data)
    place = (block.start + block.stop) // 2
    end = min(place + 40, block.stop)
    data[place:end] = bytes(value ^ 0xA5 for value in data[place:end])
    with pytest.raises(Rejected, match="the TIFF is damaged"):
        decode(memoryview(data), LIMITS)
