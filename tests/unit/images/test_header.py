import itertools
import re
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.images import craft

from muniflow.errors import Rejected
from muniflow.images.header import read_header
from muniflow.images.jpeg import MAX_SEGMENTS
from muniflow.images.limits import ImageLimits
from muniflow.images.png import MAX_CHUNKS
from muniflow.model.operation import Size

ALL = ImageLimits(formats=("jpeg", "png", "webp", "tiff"))
IMAGE = craft.photo(60, 40)
VALID = {
    "jpeg": craft.jpeg(IMAGE),
    "progressive": craft.jpeg(IMAGE, progressive=True),
    "png": craft.png(IMAGE),
    "lossy webp": craft.lossy_webp(IMAGE),
    "lossless webp": craft.lossless_webp(IMAGE),
    "extended webp": craft.webp_of([craft.webp_canvas(60, 40), *craft.webp_chunks(craft.lossy_webp(IMAGE))]),
    "tiff": craft.tiff(IMAGE),
    "big-endian tiff": craft.tiff(IMAGE, order=">"),
    "jpeg with exif": craft.after_start(craft.jpeg(IMAGE), craft.jpeg_exif(3)),
}


@pytest.mark.parametrize("name", VALID)
def test_the_size_is_read_from_every_format(name):
    header = read_header(memoryview(VALID[name]), ALL)
    assert header.size == Size(60, 40)
    assert header.format in name or name == "progressive"


@pytest.mark.parametrize(
    ("data", "scans"),
    [
        (craft.jpeg(IMAGE), 1),
        (craft.with_scans(craft.jpeg(IMAGE, progressive=True), 0), 10),
        (craft.with_scans(craft.jpeg(IMAGE, progressive=True), 54), 64),
    ],
)
def test_scans_are_counted(data, scans):
    assert read_header(memoryview(data)).scans == scans


def test_one_scan_more_than_the_limit_is_refused():
    data = craft.with_scans(craft.jpeg(IMAGE, progressive=True), 55)
    with pytest.raises(Rejected, match=r"more than 64 scans, the limit \(MUNIFLOW_MAX_SCANS\)"):
        read_header(memoryview(data))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
def test_the_orientation_is_read_from_every_format(orientation, order):
    block = craft.exif(orientation, order)
    files = [
        craft.after_start(craft.jpeg(IMAGE), craft.jpeg_exif(orientation, order)),
        craft.with_chunk(craft.png(IMAGE), (b"eXIf", block)),
        craft.webp_of([craft.webp_canvas(60, 40, 8), *craft.webp_chunks(craft.lossy_webp(IMAGE)), (b"EXIF", block)]),
        craft.tiff(IMAGE, {274: orientation}, order),
    ]
    for data in files:
        header = read_header(memoryview(data), ALL)
        assert header.orientation == orientation
        assert (header.width_px, header.height_px) == (60, 40)
        assert header.size == (Size(40, 60) if orientation > 4 else Size(60, 40))


@pytest.mark.parametrize(
    "block", [b"", b"II*\0", b"II*\0\xff\xff\xff\xff", craft.exif(9), craft.exif(0), b"garbage" * 9]
)
def test_a_broken_exif_block_counts_as_upright(block):
    data = craft.after_start(craft.jpeg(IMAGE), craft.segment(0xE1, b"Exif\0\0" + block))
    assert read_header(memoryview(data)).orientation == 1


def test_a_thumbnail_and_its_end_of_image_inside_a_segment_do_not_count():
    thumbnail = craft.segment(0xE1, b"Exif\0\0" + craft.exif(1) + craft.jpeg(craft.photo(16, 16)))
    data = craft.after_start(craft.jpeg(IMAGE), thumbnail)
    assert read_header(memoryview(data)).size == Size(60, 40)
    with pytest.raises(Rejected, match="truncated"):
        read_header(memoryview(data[: 2 + len(thumbnail)]))


@pytest.mark.parametrize("name", ["jpeg", "png", "lossy webp"])
def test_what_follows_the_image_is_ignored(name):
    data = VALID[name] + b"\xff\xd8 another picture of the set"
    assert read_header(memoryview(data)).size == Size(60, 40)


@pytest.mark.parametrize("name", VALID)
def test_no_prefix_of_a_file_passes(name):
    """But for the end marker alone, and the last scan of a JPEG, which only the decoder can miss: `test_mend.py`."""
    data = VALID[name]
    needed = len(data) - 12 if name == "png" else len(data)
    needed = data.rfind(b"\xff\xda") if name in {"jpeg", "progressive", "jpeg with exif"} else needed
    for length in itertools.chain(range(min(200, needed)), range(200, needed, 37), [needed - 1]):
        with pytest.raises(Rejected):
            read_header(memoryview(data)[:length], ALL)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (ImageLimits(max_pixels=2399), "the image is 60x40, 2400 pixels; the limit is 2399 (MUNIFLOW_MAX_PIXELS)"),
        (ImageLimits(max_encoded_bytes=100), "the limit is 100 (MUNIFLOW_MAX_ENCODED_BYTES)"),
        (ImageLimits(formats=("png",)), "it seems to be a JPEG; allowed: PNG"),
        (ImageLimits(formats=("png", "webp")), "it seems to be a JPEG; allowed: PNG, WebP (MUNIFLOW_FORMATS)"),
    ],
)
def test_each_limit_has_its_text(limits, reason):
    with pytest.raises(Rejected) as caught:
        read_header(memoryview(VALID["jpeg"]), limits)
    assert reason in str(caught.value)


def test_the_limits_themselves_pass():
    data = memoryview(VALID["jpeg"])
    limits = ImageLimits(max_pixels=2400, max_encoded_bytes=len(data), max_scans=1, formats=("jpeg",))
    assert read_header(data, limits).size == Size(60, 40)


def test_a_street_panorama_of_16384_by_8192_passes_by_default():
    data = craft.patched_size(VALID["jpeg"], 16384, 8192)
    assert read_header(memoryview(data)).size == Size(16384, 8192)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (craft.after_start(VALID["jpeg"], craft.segment(0xFE, b"") * MAX_SEGMENTS), "segments"),
        (craft.png_of([craft.png_header(1, 1), *[(b"tEXt", b"")] * MAX_CHUNKS, (b"IEND", b"")]), "chunks"),
        (craft.webp_of([(b"JUNK", b"")] * 1025), "more than 1024 chunks"),
        (VALID["jpeg"][:20] + b"\0\0" + VALID["jpeg"][20:], "no marker at byte 20"),
        (craft.after_start(VALID["jpeg"], b"\xff\xe0\0\0"), "a segment of length 0"),
        (craft.after_start(VALID["jpeg"], b"\xff\xd8"), "marker 0xd8"),
        (craft.tiff(IMAGE, {262: 5}), "colours of the TIFF"),
        (craft.tiff(IMAGE, {254: 1}), "reduced copy"),
        (craft.tiff(IMAGE)[:-1], "pixels are beyond its end"),
        (craft.tiff(craft.noise(4, 4, channels=4), {277: 5}), "5 samples"),
        (craft.tiff(craft.noise(4, 4).astype("u2"), {284: 2}), "one plane per colour"),
        (b"II+\0" + bytes(60), "BigTIFF"),
        (b"II*\0" + struct.pack("<IH", 8, 9999) + bytes(60), "9999 tags"),
    ],
)
def test_crafted_files_are_refused_for_what_they_are(data, reason):
    with pytest.raises(Rejected, match=reason):
        read_header(memoryview(data), ALL)


def test_components_without_a_scan_are_a_truncation():
    data = craft.flat_jpeg((10, 20, 30))
    place = data.find(b"\xff\xda")
    only_first = data[: place + 4] + b"\x01\x01\0\0\x3f\0" + b"\0\0\xff\xd9"
    only_first = only_first[: place + 2] + struct.pack(">H", 8) + only_first[place + 4 :]
    with pytest.raises(Rejected, match="before all its components"):
        read_header(memoryview(only_first))


def test_each_scan_of_a_progressive_jpeg_is_needed():
    """Cut behind a scan and closed, it is a file that no decoder complains of: a blurred picture."""
    data = VALID["progressive"]
    scans = [match.start() for match in re.finditer(b"\xff\xda", data)]
    assert len(scans) == 10
    for number, place in enumerate(scans[1:], 1):
        with pytest.raises(Rejected, match=f"its {number} scans do not carry|before all its components"):
            read_header(memoryview(data[:place] + b"\xff\xd9"))
    for start, end in itertools.pairwise([*scans, len(data) - 2]):
        with pytest.raises(Rejected):
            read_header(memoryview(data[:start] + data[end:]))


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ((1, 0, 1, 0), "before all its components"),  # one component alone
        ((9, 0, 1, 0), "component 9"),
        ((1, 0, 64, 0), "coefficients 0 to 64"),
        ((1, 9, 8, 0), "coefficients 9 to 8"),
    ],
)
def test_a_scan_of_what_is_not_there_is_refused(parameters, reason):
    data = VALID["progressive"]
    name, first, last, precision = parameters
    scan = craft.segment(0xDA, bytes([1, name, 0, first, last, precision]))
    start = data.find(b"\xff\xda")
    with pytest.raises(Rejected, match=reason):
        read_header(memoryview(data[:start] + scan + b"\xff\xd9"))


def reads_or_rejects(data: bytes) -> None:
    """Any other exception fails the test."""
    try:
        header = read_header(memoryview(data), ALL)
    except Rejected:
        return
    assert 0 < header.width_px * header.height_px <= ALL.max_pixels


MAGICS = [
    b"",
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"RIFF\x40\0\0\0WEBP",
    b"RIFF\x40\0\0\0WEBPVP8X",
    b"II*\0",
    b"MM\0*",
]


@given(st.sampled_from(MAGICS), st.binary(max_size=200))
@settings(max_examples=600)
def test_arbitrary_bytes_raise_nothing_but_rejected(magic, data):
    reads_or_rejects(magic + data)


@given(
    st.sampled_from(sorted(VALID)),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=8),
    st.integers(0, 400),
)
@settings(max_examples=600)
def test_mutated_files_raise_nothing_but_rejected(name, changes, cut):
    data = bytearray(VALID[name])
    for place, value in changes:
        data[place % len(data)] = value
    reads_or_rejects(bytes(data[: len(data) - cut] if cut < 200 else data))


def test_any_contiguous_buffer_will_do():
    words = memoryview(bytearray(VALID["png"].ljust(len(VALID["png"]) + -len(VALID["png"]) % 4, b"\0"))).cast("I")
    assert read_header(words).size == Size(60, 40)
