"""A file is refused, or has exactly the pixels that other decoders see in the same bytes."""

import numpy as np
import pytest
from tests.unit.images import corpus
from tests.unit.images.corpus import Sample

from muniflow.errors import Rejected
from muniflow.images.decode import decode
from muniflow.images.limits import ImageLimits

LIMITS = ImageLimits(formats=("jpeg", "png", "webp", "tiff"), max_pixels=10**6)
DAMAGES = 50


def alike(sample: Sample, image: np.ndarray, seen: np.ndarray | str) -> bool:
    if isinstance(seen, str) or seen.shape != image.shape:
        return False
    return int(np.abs(seen.astype(int) - image).max()) <= sample.off_by


@pytest.mark.parametrize("sample", corpus.samples(), ids=str)
def test_a_whole_file_has_the_pixels_of_every_reference(sample: Sample):
    image = decode(memoryview(sample.data), LIMITS)
    for name, seen in corpus.references(sample, sample.data).items():
        assert alike(sample, image, seen), f"{name}: {seen}"


@pytest.mark.parametrize("sample", corpus.samples(), ids=str)
def test_a_damaged_file_is_refused_or_has_the_pixels_of_a_reference(sample: Sample):
    refused, equal, wrong = 0, 0, []
    for seed in range(DAMAGES):
        data = corpus.damaged(sample, seed)
        try:
            image = decode(memoryview(data), LIMITS)
        except Rejected:
            refused += 1
            continue
        seen = corpus.references(sample, data)
        if any(alike(sample, image, pixels) for pixels in seen.values()):
            equal += 1
        else:
            wrong.append((seed, {name: pixels for name, pixels in seen.items() if isinstance(pixels, str)}))
    print(f"{sample}: {refused} refused, {equal} equal, {len(wrong)} wrong")  # noqa: T201 - `-rP` shows it
    assert not wrong, f"{len(wrong)} of {DAMAGES} done with other pixels (seeds and what the references say): {wrong}"


CHECKED = ("tiff-lzw", "tiff-deflate")


@pytest.mark.parametrize("sample", [sample for sample in corpus.samples() if sample.name.startswith(CHECKED)], ids=str)
def test_forty_damaged_bytes_in_a_strip_or_tile_are_refused(sample: Sample):
    """In the middle of its data: Deflate has a checksum, and LZW would have to end at the same byte."""
    block = corpus.middle_block(sample)
    data = bytearray(sample.data)
    place = (block.start + block.stop) // 2
    end = min(place + 40, block.stop)
    data[place:end] = bytes(value ^ 0xA5 for value in data[place:end])
    with pytest.raises(Rejected, match="the TIFF is damaged"):
        decode(memoryview(data), LIMITS)
