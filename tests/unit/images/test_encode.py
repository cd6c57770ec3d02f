import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.images import craft

from muniflow.errors import Rejected
from muniflow.images.decode import decode
from muniflow.images.encode import encode
from muniflow.images.header import read_header
from muniflow.images.opencv import cv2
from muniflow.model.messages import Encoding
from muniflow.model.operation import Size

PHOTO = craft.photo(101, 67)
ENCODINGS = [
    Encoding(format="jpg"),
    Encoding(format="jpg", quality=40),
    Encoding(format="png"),
    Encoding(format="webp"),
    Encoding(format="webp", quality=40),
]


@pytest.mark.parametrize("encoding", ENCODINGS, ids=str)
def test_outputs_pass_our_own_header_check_and_keep_the_size(encoding):
    assert read_header(encode(PHOTO, encoding)).size == Size(101, 67)


@pytest.mark.parametrize("encoding", ENCODINGS, ids=str)
def test_the_same_pixels_give_the_same_bytes_also_from_a_view(encoding):
    view = PHOTO[3:60, 5:90]
    assert bytes(encode(view, encoding)) == bytes(encode(view.copy(), encoding)) == bytes(encode(view, encoding))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 9))
def test_png_is_lossless(width_px, height_px, seed):
    image = craft.noise(width_px, height_px, seed)
    assert np.array_equal(decode(encode(image, Encoding(format="png"))), image)


@pytest.mark.parametrize(("encoding", "least_db"), [(ENCODINGS[0], 35), (ENCODINGS[1], 26), (ENCODINGS[3], 30)])
def test_lossy_formats_stay_close(encoding, least_db):
    assert cv2.PSNR(decode(encode(PHOTO, encoding)), PHOTO) >= least_db


@pytest.mark.parametrize("image_format", ["jpg", "webp"])
def test_quality_sets_the_size_and_has_a_default(image_format):
    low, default, top = (
        encode(PHOTO, Encoding(format=image_format, quality=quality)).nbytes for quality in (10, None, 100)
    )
    assert low < default < top
    stated = {"jpg": 95, "webp": 90}[image_format]
    assert encode(PHOTO, Encoding(format=image_format, quality=stated)).nbytes == default


@pytest.mark.parametrize(("image_format", "longest_px"), [("jpg", 65500), ("webp", 16383), ("png", 70000)])
def test_the_longest_side_passes(image_format, longest_px):
    image = np.zeros((1, longest_px, 3), np.uint8)
    assert read_header(encode(image, Encoding(format=image_format))).size == Size(longest_px, 1)


@pytest.mark.parametrize(("image_format", "longest_px"), [("jpg", 65500), ("webp", 16383), ("png", 1_000_000)])
@pytest.mark.parametrize("upright", [False, True])
def test_one_pixel_more_is_refused(image_format, longest_px, upright):
    shape = (longest_px + 1, 1, 3) if upright else (1, longest_px + 1, 3)
    with pytest.raises(Rejected, match=f"a side of a {image_format} has at most {longest_px} pixels"):
        encode(np.zeros(shape, np.uint8), Encoding(format=image_format))


def source_with_metadata() -> bytes:
    comment = craft.segment(0xFE, b"taken at 52.09 N, 5.12 E")
    profile = craft.segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(64))
    return craft.after_start(craft.jpeg(PHOTO), craft.jpeg_exif(1) + profile + comment)


def test_no_metadata_of_the_source_reaches_an_output():
    image = decode(memoryview(source_with_metadata()))
    jpeg = bytes(encode(image, Encoding(format="jpg")))
    markers = set(re.findall(rb"\xff([\xe0-\xef\xfe])", jpeg[: jpeg.find(b"\xff\xda")]))
    assert markers <= {b"\xe0"}  # JFIF's own, which states a pixel density
    assert {kind for kind, _ in craft.png_chunks(bytes(encode(image, Encoding(format="png"))))} == {
        b"IHDR",
        b"IDAT",
        b"IEND",
    }
    assert {kind for kind, _ in craft.webp_chunks(bytes(encode(image, Encoding(format="webp"))))} == {b"VP8 "}


def test_the_buffer_is_plain_bytes():
    encoded = encode(PHOTO, Encoding(format="jpg"))
    assert (encoded.format, encoded.ndim, encoded.contiguous) == ("B", 1, True)
