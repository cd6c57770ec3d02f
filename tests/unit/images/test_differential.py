"""A file is refused, or has exactly the pixels that other decoders see in the same bytes."""

import warnings
from collections.abc import Iterator
from typing import Literal

import numpy as np
import pytest
from PIL import ExifTags
from tests.unit.images import corpus, test_metadata, traits
from tests.unit.images.corpus import Sample
from tests.unit.images.traits import Trait

from muniflow.compute.step import installed_steps
from muniflow.errors import Rejected
from muniflow.images.carried import Carried
from muniflow.images.decode import decode
from muniflow.images.encode import encode
from muniflow.images.header import read_header
from muniflow.images.limits import ImageLimits
from muniflow.images.metadata import metadata_of
from muniflow.images.types import Image
from muniflow.model.encoding import Encoding
from muniflow.model.frame import whole

LIMITS = ImageLimits(formats=("jpeg", "png", "webp", "tiff", "heif", "avif"), max_pixels=10**6)
DAMAGES = 50
CUTS = (0.35, 0.7, 0.97)
"""Where a file is cut, as parts of its length."""


def alike(sample: Sample | Trait, image: np.ndarray, seen: np.ndarray | str) -> bool:
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


def read(trait: Trait, data: bytes) -> Image:
    return decode(memoryview(data), LIMITS, rendering=trait.rendering, alpha=trait.alpha)


def right(trait: Trait) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of broken EXIF
        return traits.seen(trait)


def damaged(data: bytes) -> Iterator[bytes]:
    """Cut; and as from a disk that was pulled out, where holes are seen."""
    for part in CUTS:
        cut = data[: int(len(data) * part)]
        yield cut
        if read_header(memoryview(data), LIMITS).format in {"jpeg", "png", "heif"}:
            yield cut.ljust(len(data), b"\0")


@pytest.mark.parametrize("trait", traits.traits(), ids=str)
def test_a_trait_or_option_gives_the_pixels_of_the_reference_or_damaged_is_refused(trait: Trait):
    seen = right(trait)
    assert alike(trait, read(trait, trait.data), seen)
    for number, data in enumerate(damaged(trait.data)):
        try:
            image = read(trait, data)
        except Rejected:
            continue
        assert alike(trait, image, seen), f"damage {number}"


STEPPED = (
    *(
        "alpha: png,",
        "alpha: png with",
        "alpha: webp lossless",
        "alpha: tiff none",
    ),
    *("alpha: avif", "colour: PNG, wide", "bands: 8, unassalpha, none"),
)
"""Beginnings of the names of files that go through every step: alpha and bands of every kind."""
THROUGH_STEPS = [trait for trait in traits.traits() if trait.name.startswith(STEPPED)]
LOSS: dict[Literal["png", "webp"], int] = {"png": 0, "webp": 20}
"""Gray levels that an encoding takes from colours of this grain, in the mean; alpha loses nothing."""


@pytest.mark.parametrize("step", traits.STEPS)
@pytest.mark.parametrize("trait", THROUGH_STEPS, ids=str)
def test_a_step_and_its_outputs_keep_what_is_right(trait: Trait, step: str):
    params, by_definition = traits.STEPS[step]
    installed = installed_steps()[step]
    made = installed.apply(read(trait, trait.data), installed.operation.params.model_validate(params))
    for tile, wanted in zip(made, by_definition(right(trait)), strict=True):
        for output, loss in LOSS.items():
            shown = decode(memoryview(encode(tile, Encoding(format=output))), LIMITS, alpha=True)
            difference = np.abs(shown.astype(int) - wanted)
            if wanted.shape[2] == 4:
                assert difference[:, :, 3].max() <= 1
                difference = difference[wanted[:, :, 3] >= 1]
            assert difference.mean() <= loss + 1
            assert loss or difference.max() <= trait.off_by + 1


KEPT: dict[Literal["strip", "gps", "keep"], tuple[bool, bool]] = {
    "strip": (False, False), "gps": (True, False), "keep": (True, True),
}  # fmt: skip
"""Whether outputs state the place, and whose camera it was."""


@pytest.mark.parametrize("choice", KEPT)
@pytest.mark.parametrize("output", ["jpg", "png", "webp"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_outputs_say_what_was_chosen_of_a_whole_source(
    kind: str, output: Literal["jpg", "png", "webp"], choice: Literal["strip", "gps", "keep"]
):
    source = test_metadata.source(kind)
    view = memoryview(source)
    found = None if choice == "strip" else metadata_of(view, read_header(view, LIMITS), choice, "srgb")
    carried = Carried()
    if found is not None:
        carried = Carried(None, found.exif, found.xmp(whole(found.size), found.size), found.density)
    made = bytes(encode(decode(view, LIMITS), Encoding(format=output), carried))
    block, _, _ = test_metadata.opened(made)
    place = block.get_ifd(ExifTags.IFD.GPSInfo)
    assert (place.get(17) == 183.25, test_metadata.OWNER.encode() in made) == KEPT[choice]
    assert block.get(0x0112, 1) == 1
