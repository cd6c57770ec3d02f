"""HEIC and AVIF: what phones send. The HEIC files were encoded with libheif and x265 from `PICTURE`."""

import hashlib
import io
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from muniflow.errors import Rejected
from muniflow.images.decode import decode
from muniflow.images.header import read_header, read_start
from muniflow.images.limits import ImageLimits
from muniflow.model.source_formats import format_of

HEIGHT_PX, WIDTH_PX = 64, 128
_Y, _X = np.mgrid[0:HEIGHT_PX, 0:WIDTH_PX]
PICTURE = np.stack(
    [_X * 255 // (WIDTH_PX - 1), _Y * 255 // (HEIGHT_PX - 1), (_X + _Y) * 255 // (WIDTH_PX + HEIGHT_PX - 2)], -1
).astype(np.uint8)
PICTURE[4:20, 4:24] = (220, 40, 30)
FOLDER = Path(__file__).parent / "heic"
HEIC = (FOLDER / "plain.heic").read_bytes()
NEAR = 2.0
"""Mean difference, in levels, that a lossy codec may make of `PICTURE`."""


def avif(**options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PICTURE).save(stream, "AVIF", quality=90, **options)
    return stream.getvalue()


AVIF = avif()


def turned_avif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return avif(exif=exif)


def read(data: bytes) -> np.ndarray:
    return decode(memoryview(data), alpha=True)[:, :, 2::-1].astype(int)


def turned_heic(quarters: int) -> bytes:
    """With `irot`, put over `pixi`, which has the room and is not needed."""
    place = HEIC.index(b"pixi")
    return HEIC[:place] + b"irot" + bytes([quarters]) + HEIC[place + 5 :]


@pytest.mark.parametrize("data", [HEIC, AVIF, (FOLDER / "alpha.heic").read_bytes()], ids=["heic", "avif", "alpha"])
def test_pixels_are_those_of_the_picture(data):
    assert np.abs(read(data) - PICTURE).mean() < NEAR


def test_gray_becomes_three_channels():
    image = read((FOLDER / "gray.heic").read_bytes())
    assert np.array_equal(image[:, :, 0], image[:, :, 2])
    gray = np.asarray(Image.fromarray(PICTURE).convert("L")).astype(int)
    assert np.abs(image[:, :, 0] - gray).mean() < NEAR


@pytest.mark.parametrize("quarters", range(4))
def test_a_heic_is_turned_as_its_header_says(quarters):
    data = turned_heic(quarters)
    upright = np.rot90(PICTURE, quarters)
    assert read_header(memoryview(data)).size == (upright.shape[1], upright.shape[0])
    assert np.abs(read(data) - upright).mean() < NEAR


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_avif_is_turned_as_its_header_says(orientation):
    data = turned_avif(orientation)
    upright = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    exif = Image.open(io.BytesIO(data)).getexif()
    if exif.get(0x0112, 1) != 1:  # Pillow leaves the turn to `exif_transpose`
        from PIL import ImageOps

        upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")).astype(int)
    assert np.abs(read(data) - upright).mean() < NEAR


@pytest.mark.parametrize("data", [HEIC, AVIF], ids=["heic", "avif"])
def test_what_is_cut_is_refused(data):
    for end in range(1, len(data)):
        with pytest.raises(Rejected):
            read_header(memoryview(data[:end]))


@pytest.mark.parametrize("name", ["plain.heic", "alpha.heic", "gray.heic"])
@pytest.mark.parametrize("hole_bytes", [3, 200])
def test_a_hole_in_the_pixels_of_a_heic_is_refused_wherever_it_is(name, hole_bytes):
    """What was never written to a disk reads as zeros. libde265 would show some picture, and say nothing."""
    data = (FOLDER / name).read_bytes()
    first = data.index(b"mdat") + 8
    for start in range(first, len(data) - hole_bytes, 37):
        holed = data[:start] + bytes(hole_bytes) + data[start + hole_bytes :]
        with pytest.raises(Rejected, match="HEIC is damaged"):
            decode(memoryview(holed), alpha=True)


@pytest.mark.parametrize("data", [HEIC, AVIF], ids=["heic", "avif"])
def test_a_size_beyond_the_limit_is_refused_before_anything_is_decoded(data):
    place = data.index(b"ispe") + 8
    bomb = data[:place] + struct.pack(">II", 30_000, 30_000) + data[place + 8 :]
    with pytest.raises(Rejected, match="30000x30000, 900000000 pixels; the limit is 134217728"):
        decode(memoryview(bomb))


def test_a_size_that_is_not_that_of_the_pixels_is_refused():
    """Of HEIC; the AVIF decoder scales what it decodes to the size that the header states."""
    place = HEIC.index(b"ispe") + 8
    wrong = HEIC[:place] + struct.pack(">II", WIDTH_PX * 2, HEIGHT_PX) + HEIC[place + 8 :]
    with pytest.raises(Rejected):
        decode(memoryview(wrong))


@pytest.mark.parametrize("data", [HEIC, AVIF], ids=["heic", "avif"])
def test_its_start_is_enough_for_its_size(data):
    header = read_start(io.BytesIO(data[: data.index(b"mdat") + 8])).header
    assert header is not None
    assert header.size == (WIDTH_PX, HEIGHT_PX)


def test_they_are_refused_where_they_are_not_allowed():
    with pytest.raises(Rejected, match=r"it seems to be a HEIC photograph; allowed: JPEG \(MUNIFLOW_FORMATS\)"):
        read_header(memoryview(HEIC), ImageLimits(formats=("jpeg",)))


@pytest.mark.parametrize(
    ("brands", "found"),
    [
        (b"heic\0\0\0\0mif1", "heif"), (b"mif1\0\0\0\0mif1heic", "heif"), (b"mif1\0\0\0\0avifmiaf", "avif"),
        (b"avif\0\0\0\0", "avif"), (b"mp42\0\0\0\0isomavc1", None), (b"mif1\0\0\0\0unci", None),
    ],
)  # fmt: skip
def test_brands_tell_the_format(brands, found):
    assert format_of(memoryview(struct.pack(">I", 8 + len(brands)) + b"ftyp" + brands + bytes(64))) == found


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([HEIC, AVIF]), st.integers(0, 600), st.binary(min_size=1, max_size=8))
def test_the_parser_raises_nothing_else(data, place, junk):
    changed = data[:place] + junk + data[place + len(junk) :]
    for start_only in (False, True):
        try:
            if start_only:
                read_start(io.BytesIO(changed))
            else:
                read_header(memoryview(changed))
        except Rejected:
            pass


def test_a_heic_has_the_same_pixels_in_every_process():
    """Memory of the decoder that is freed and used again differs from process to process."""
    program = (
        "import sys, hashlib; from muniflow.images.decode import decode;"
        "image = decode(memoryview(open(sys.argv[1], 'rb').read())); y = [bytearray(9000) for _ in range(99)];"
        "print(hashlib.sha256(image).hexdigest())"
    )
    command = [sys.executable, "-c", program, str(FOLDER / "plain.heic")]
    found = {subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(3)}
    assert found == {hashlib.sha256(decode(memoryview(HEIC)).tobytes()).hexdigest() + "\n"}
