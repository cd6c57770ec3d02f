import re
import zlib

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.images import corpus, craft

from muniflow.errors import Rejected
from muniflow.images.decode import decode
from muniflow.images.header import read_header
from muniflow.images.limits import ImageLimits
from muniflow.images.tiff_blocks import inflated_bytes, lzw_bytes, packbits_bytes

TIFF = ImageLimits(formats=("tiff",))
PIXELS = {
    "flat": bytes(60_000),
    "noise": craft.noise(100, 100).tobytes(),
    "photo": craft.photo(200, 200).tobytes(),
    "one byte": b"x",
    "nothing": b"",
}


def lzw(pixels: bytes) -> bytes:
    return bytes(imagecodecs.lzw_encode(pixels))


def packbits(pixels: bytes) -> bytes:
    return bytes(imagecodecs.packbits_encode(pixels))


@pytest.mark.parametrize("pixels", PIXELS.values(), ids=PIXELS)
def test_the_length_is_told_without_expanding(pixels):
    assert lzw_bytes(lzw(pixels)) == len(pixels)
    assert packbits_bytes(packbits(pixels)) == len(pixels)
    assert inflated_bytes(zlib.compress(pixels), len(pixels)) == len(pixels)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 400)), max_size=60))
@settings(max_examples=100)
def test_the_length_of_any_run_is_told(runs):
    pixels = b"".join(bytes([value]) * count for value, count in runs)
    assert lzw_bytes(lzw(pixels)) == len(pixels)
    assert packbits_bytes(packbits(pixels)) == len(pixels)


@given(st.binary(max_size=300))
@settings(max_examples=300)
def test_arbitrary_bytes_raise_nothing_but_rejected(coded):
    for check in (lzw_bytes, packbits_bytes, lambda data: inflated_bytes(data, 1000)):
        try:
            assert check(coded) >= 0
        except Rejected:
            continue


@pytest.mark.parametrize("size", [5999, 6001])
def test_more_or_fewer_pixels_than_a_strip_needs_are_refused(size):
    pixels = craft.photo(50, 40).tobytes().ljust(6001, b"\0")[:size]
    for coding, coded in {
        5: lzw(pixels),
        8: zlib.compress(pixels),
        32773: packbits(pixels),
    }.items():
        with pytest.raises(Rejected, match=f"has {size} bytes of pixels; needed: 6000"):
            decode(memoryview(craft.coded_tiff(50, 40, coding, coded)), TIFF)


def test_a_last_strip_that_is_filled_up_is_whole():
    image = craft.noise(8, 6)
    strips = [zlib.compress(image[:4, :, ::-1].tobytes()), zlib.compress(image[4:, :, ::-1].tobytes() + bytes(48))]
    assert np.array_equal(decode(memoryview(craft.coded_tiff(8, 6, 8, *strips, strip_rows=4)), TIFF), image)


def test_a_wrong_checksum_behind_the_right_pixels_is_refused():
    coded = zlib.compress(craft.photo(50, 40).tobytes())
    with pytest.raises(Rejected, match="incorrect data check"):
        decode(memoryview(craft.coded_tiff(50, 40, 8, coded[:-1] + bytes([coded[-1] ^ 1]))), TIFF)
    with pytest.raises(Rejected, match="ends before its checksum"):
        decode(memoryview(craft.coded_tiff(50, 40, 8, coded[:-4])), TIFF)


def test_bits_stored_in_reverse_order_are_read():
    image = craft.photo(50, 40)
    turned = bytes(int(f"{value:08b}"[::-1], 2) for value in zlib.compress(image[:, :, ::-1].tobytes()))
    assert np.array_equal(decode(memoryview(craft.coded_tiff(50, 40, 8, turned, tags={266: 2})), TIFF), image)


@pytest.mark.parametrize(
    ("coding", "name"),
    [
        (2, "CCITT run lengths"),
        (6, "old-style JPEG"),
        (32909, "PixarLog"),
        (34676, "SGILog"),
        (34712, "JPEG 2000"),
        (34887, "LERC"),
        (34925, "LZMA"),
        (50000, "Zstandard"),
        (50001, "WebP"),
        (50002, "JPEG XL"),
        (4711, "unknown"),
    ],
)
def test_a_coding_that_is_not_decoded_is_refused_by_name_before_decoding(coding, name):
    with pytest.raises(Rejected, match=re.escape(f"coded as {name} (compression {coding}); allowed: none, LZW")):
        read_header(memoryview(craft.coded_tiff(50, 40, coding, bytes(100))), TIFF)


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({262: 3}, "palette is missing"),
        ({259: 7, 277: 4, 338: 1}, "JPEG with alpha"),
        ({278: 9}, "needs 5"),
        ({278: 0}, "without pixels"),
    ],
)
def test_what_libtiff_would_guess_is_refused(tags, reason):
    data = craft.coded_tiff(50, 40, 8, zlib.compress(bytes(6000)), tags=tags)
    with pytest.raises(Rejected, match=reason):
        read_header(memoryview(data), TIFF)


def test_the_lzw_of_before_1988_is_named():
    with pytest.raises(Rejected, match="the LZW of before 1988"):
        decode(memoryview(craft.coded_tiff(50, 40, 5, b"\0\1" + bytes(100))), TIFF)


def test_progressive_jpeg_in_a_strip_that_lacks_scans_is_refused():
    whole = craft.jpeg(craft.photo(48, 40), progressive=True)
    tags = {262: 6}
    assert decode(memoryview(craft.coded_tiff(48, 40, 7, whole, tags=tags)), TIFF).shape == (40, 48, 3)
    second_scan = whole.find(b"\xff\xda", whole.find(b"\xff\xda") + 2)
    with pytest.raises(Rejected, match="do not carry all coefficients"):
        decode(memoryview(craft.coded_tiff(48, 40, 7, whole[:second_scan] + b"\xff\xd9", tags=tags)), TIFF)


def test_the_tags_of_cameras_and_maps_are_harmless():
    """libtiff warns of each that it does not know."""
    known = {sample.name: sample for sample in corpus.samples()}["tiff-deflate-strips-rgb8"]
    with_tag = craft.tiff(craft.noise(7, 5), {40000: 1})
    for data in (known.data, with_tag):
        assert decode(memoryview(data), TIFF).shape[2] == 3
