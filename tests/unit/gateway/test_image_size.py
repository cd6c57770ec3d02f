import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muniflow.images.opencv import cv2
from muniflow.model.operation import Size
from muniflow_gateway.upload.image_size import image_format, measure

PIXELS = np.zeros((31, 57, 3), np.uint8)


@pytest.mark.parametrize(
    ("extension", "parameters"),
    [
        (".jpg", []),
        (".jpg", [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
        (".png", []),
        (".webp", [cv2.IMWRITE_WEBP_QUALITY, 80]),
        (".webp", [cv2.IMWRITE_WEBP_QUALITY, 101]),
    ],
)
def test_the_size_is_read_from_the_head(extension, parameters):
    encoded = cv2.imencode(extension, PIXELS, parameters)[1].tobytes()

    assert measure(io.BytesIO(encoded)) == Size(57, 31)


def test_a_jpeg_whose_frame_comes_after_a_large_profile():
    encoded = cv2.imencode(".jpg", PIXELS)[1].tobytes()
    profile = b"\xff\xe2" + struct.pack(">H", 60_002) + bytes(60_000)

    assert measure(io.BytesIO(encoded[:2] + profile * 20 + encoded[2:])) == Size(57, 31)


def test_what_a_bomb_claims_is_counted():
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 60_000, 60_000) + bytes(20)

    size = measure(io.BytesIO(bomb))

    assert size is not None
    assert size.pixels == 3_600_000_000


@given(st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF1234WEBPVP8 "]), st.binary(max_size=300))
def test_no_bytes_make_it_fail(magic, rest):
    size = measure(io.BytesIO(magic + rest))

    assert size is None or size.pixels >= 0


SECRET = b"password: in plain text, and long enough to reach into any header"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (cv2.imencode(".jpg", PIXELS)[1].tobytes(), "jpeg"),
        (cv2.imencode(".png", PIXELS)[1].tobytes(), "png"),
        (cv2.imencode(".webp", PIXELS)[1].tobytes(), "webp"),
        (cv2.imencode(".png", PIXELS)[1].tobytes()[:40], "png"),
        (b"II*\0" + SECRET, "tiff"),
        (b"\xff\xd8\xff" + SECRET, None),
        (b"\xff\xd8\xff\xe0" + SECRET, None),
        (b"\x89PNG\r\n\x1a\n" + SECRET, None),
        (b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 0, 9) + SECRET, None),
        (b"RIFF\0\1\0\0WEBP" + SECRET, None),
        (SECRET, None),
        (b"", None),
    ],
)
def test_only_a_header_with_pixels_makes_an_image(content, expected):
    assert image_format(io.BytesIO(content)) == expected
