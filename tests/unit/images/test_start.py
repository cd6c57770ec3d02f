"""What the first part of an image shows, against what the whole of it shows."""

import io
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.images import craft
from tests.unit.images.bad_images import bad_images

from muniflow.errors import Rejected
from muniflow.images.fields import Damaged
from muniflow.images.header import MAX_START_BYTES, read_header, read_start
from muniflow.images.limits import ImageLimits
from muniflow.model.operation import Size

IMAGE = craft.photo(60, 40)
WEBP = craft.webp_chunks(craft.lossy_webp(IMAGE))
PROFILE = craft.segment(0xE2, bytes(60_000))
VALID = {
    "jpeg": craft.jpeg(IMAGE),
    "progressive": craft.jpeg(IMAGE, progressive=True),
    "jpeg behind a profile of 1.2 MB": craft.after_start(craft.jpeg(IMAGE), PROFILE * 20),
    "jpeg on its side": craft.after_start(craft.jpeg(IMAGE), craft.jpeg_exif(6)),
    "png": craft.png(IMAGE),
    "png behind a text of 1 MB": craft.with_chunk(craft.png(IMAGE), (b"tEXt", bytes(1_000_000))),
    "lossy webp": craft.lossy_webp(IMAGE),
    "lossless webp": craft.lossless_webp(IMAGE),
    "extended webp": craft.webp_of([craft.webp_canvas(60, 40), *WEBP]),
    "large png": craft.png(craft.noise(400, 300)),
}
ANIMATED = {
    "webp that says so": craft.webp_of([craft.webp_canvas(60, 40, 0x02), *WEBP]),
    "webp with frames": craft.webp_of([craft.webp_canvas(60, 40), (b"ANIM", bytes(6)), *WEBP]),
    "webp of one frame": craft.webp_of([craft.webp_canvas(60, 40, 0x02), (b"ANIM", bytes(6)), (b"ANMF", bytes(40))]),
    "png": craft.with_chunk(craft.png(IMAGE), (b"acTL", struct.pack(">II", 1, 0))),
}


def refusal(read, *arguments):
    """Why it is refused; `None` if it is not."""
    try:
        read(*arguments)
    except Rejected as refused:
        return str(refused)
    return None


@pytest.mark.parametrize("name", VALID)
def test_the_start_of_what_is_accepted_shows_its_size(name):
    start = read_start(io.BytesIO(VALID[name]))

    assert start.refused is None
    assert start.header is not None
    assert start.header.size == read_header(memoryview(VALID[name])).size


@pytest.mark.parametrize("name", ANIMATED)
def test_an_animation_is_refused_in_the_same_words(name):
    start = read_start(io.BytesIO(ANIMATED[name]))

    assert str(start.refused) == refusal(read_header, memoryview(ANIMATED[name]))
    assert "is animated; a photograph is one picture" in str(start.refused)
    assert not isinstance(start.refused, Damaged)


@pytest.mark.parametrize("bad", bad_images(), ids=str)
def test_nothing_is_refused_by_its_start_alone(bad):
    start = read_start(io.BytesIO(bad.data))

    if start.refused is not None:
        assert refusal(read_header, memoryview(bad.data)) is not None


@pytest.mark.parametrize("name", VALID)
def test_a_cut_file_that_shows_its_size_is_left_to_the_steps(name):
    start = read_start(io.BytesIO(VALID[name][: len(VALID[name]) - 40]))

    assert start.refused is None
    assert start.header is not None


def test_no_more_is_read_than_shows_the_size():
    stream = io.BytesIO(VALID["jpeg"] + bytes(1_000_000))

    start = read_start(stream)

    assert start.data == stream.getvalue()[: stream.tell()]
    assert stream.tell() <= 64 * 1024


def test_what_begins_late_is_left_to_the_steps():
    chunk = (b"tEXt", bytes(MAX_START_BYTES))
    start = read_start(io.BytesIO(craft.with_chunk(craft.png(IMAGE), chunk)))

    assert (start.header, start.refused, len(start.data)) == (None, None, MAX_START_BYTES)


def test_a_tiff_is_left_to_the_steps():
    data = craft.tiff(IMAGE)

    assert read_start(io.BytesIO(data), ImageLimits(formats=("tiff",))).header is None
    assert "it seems to be a TIFF" in str(read_start(io.BytesIO(data)).refused)


def test_the_size_that_a_bomb_claims_is_held_against_the_limit():
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 60_000, 60_000) + bytes(20)

    assert "the image is 60000x60000" in str(read_start(io.BytesIO(bomb)).refused)


@given(
    st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x40\0\0\0WEBP", b"RIFF1234WEBPVP8X", b"II*\0"]),
    st.binary(max_size=300),
)
@settings(max_examples=400, deadline=None)
def test_no_bytes_make_it_fail(magic, rest):
    data = magic + rest
    start = read_start(io.BytesIO(data))

    assert start.data == data
    assert start.header is None or start.refused is None


@given(
    st.sampled_from(sorted(VALID)),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=4),
)
@settings(max_examples=400, deadline=None)
def test_whatever_is_accepted_whole_is_accepted_by_its_start(name, changes):
    data = bytearray(VALID[name])
    for place, value in changes:
        data[place % len(data)] = value
    start = read_start(io.BytesIO(bytes(data)))

    if refusal(read_header, memoryview(bytes(data))) is None:
        assert start.refused is None
        assert start.header is not None
        assert start.header.size.pixels == read_header(memoryview(bytes(data))).size.pixels
    if start.header is not None:
        assert isinstance(start.header.size, Size)
