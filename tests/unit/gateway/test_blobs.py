import io
import struct

import pytest
from tests.unit.images import craft

from muniflow.images.header import read_start
from muniflow_gateway.blobs import MAX_HEAD_BYTES, content_type_of

SECRET = b"password: in plain text, and long enough to reach into any header"
IMAGE = craft.photo(57, 31)
PNG = craft.png(IMAGE)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (craft.jpeg(IMAGE), "image/jpeg"),
        (PNG, "image/png"),
        (craft.lossy_webp(IMAGE), "image/webp"),
        (PNG[: len(PNG) // 2], "image/png"),
        (craft.with_chunk(PNG, (b"tEXt", bytes(2 * MAX_HEAD_BYTES))), "image/png"),
        (craft.with_chunk(PNG, (b"acTL", struct.pack(">II", 1, 0))), "image/png"),
        (craft.patched_size(craft.jpeg(IMAGE), 60_000, 60_000), "image/jpeg"),
        (b"II*\0" + SECRET, "image/tiff"),
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
    assert content_type_of(read_start(io.BytesIO(content), max_bytes=MAX_HEAD_BYTES)) == expected
