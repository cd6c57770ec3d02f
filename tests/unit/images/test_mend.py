"""Harmless deviations are put right, and what is really cut stays refused."""

import io
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from tests.unit.images import corpus, craft
from tests.unit.images.corpus import Sample

from muniflow.errors import Rejected
from muniflow.images.decode import decode
from muniflow.images.header import read_header
from muniflow.images.limits import ImageLimits

LIMITS = ImageLimits(formats=("jpeg", "png", "webp", "tiff"), max_pixels=10**6)
CUTTABLE = [sample for sample in corpus.samples() if sample.format in {"jpeg", "png"}]
PHOTO = craft.photo(72, 48)
JPEG = craft.jpeg(PHOTO)
PROGRESSIVE = craft.jpeg(PHOTO, progressive=True)
PICTURE = JPEG[:-2]
PLAIN = b"\xff\xd8" + JPEG[JPEG.index(b"\xff\xdb") :]


def read(data: bytes) -> np.ndarray:
    return decode(memoryview(data), LIMITS)


def same(data: bytes, clean: bytes) -> bool:
    return bool(np.array_equal(read(data), read(clean)))


def with_scan_header(data: bytes, parameters: bytes) -> bytes:
    place = data.index(b"\xff\xda") + 5
    place += 2 * data[place - 1]
    return data[:place] + parameters + data[place + 3 :]


def adobe(transform: int) -> bytes:
    return craft.segment(0xEE, b"Adobe" + struct.pack(">HHHB", 100, 0, 0, transform))


@pytest.mark.parametrize("parameters", [b"\0\0\0", b"\0\x3f\x11", b"\x3f\0\0", b"\1\5\2", b"\xff\xff\xff"])
@pytest.mark.parametrize("factor", [1, 2, 4, 8])
def test_the_scan_header_of_a_baseline_jpeg_counts_for_nothing(parameters, factor):
    """Samsung writes zeros there."""
    data = with_scan_header(JPEG, parameters)
    image = decode(memoryview(data), LIMITS, reduction=factor)
    assert np.array_equal(image, decode(memoryview(JPEG), LIMITS, reduction=factor))


def test_of_a_progressive_jpeg_it_counts():
    with pytest.raises(Rejected):
        read(with_scan_header(PROGRESSIVE, b"\0\0\0"))
    start = PROGRESSIVE.index(b"\xff\xda")
    with pytest.raises(Rejected):
        read(PROGRESSIVE[:start].replace(b"\xff\xc2", b"\xff\xc0") + PROGRESSIVE[start:])


@pytest.mark.parametrize("version", [(0, 0), (2, 1), (3, 0), (255, 255)])
def test_the_version_of_jfif_counts_for_nothing(version):
    data = JPEG.replace(b"JFIF\0\1\1", b"JFIF\0" + bytes(version))
    assert data != JPEG or version == (1, 1)
    assert same(data, JPEG)


@pytest.mark.parametrize("transform", [2, 3, 5, 255])
def test_an_unknown_adobe_transform_is_ycbcr(transform):
    assert same(craft.after_start(PLAIN, adobe(transform)), JPEG)
    assert same(craft.after_start(PLAIN, adobe(1)), JPEG)


@pytest.mark.parametrize("transform", [1, 3, 9])
def test_an_unknown_adobe_transform_of_four_components_is_ycck(transform):
    cmyk = next(sample for sample in CUTTABLE if sample.name == "jpeg-cmyk").data
    place = cmyk.index(b"Adobe") + 11
    assert same(cmyk[:place] + bytes([transform]) + cmyk[place + 1 :], cmyk[:place] + b"\2" + cmyk[place + 1 :])


def samsung_trailer(*blocks: tuple[int, bytes, bytes]) -> bytes:
    """A trailer as Samsung writes it: blocks, then a list of where they are."""
    trailer, entries = b"", []
    for kind, name, content in blocks:
        entries.append((kind, len(trailer), 8 + len(name) + len(content)))
        trailer += struct.pack("<HHI", 0, kind, len(name)) + name + content
    listed = b"SEFH" + struct.pack("<II", 106, len(entries))
    listed += b"".join(
        struct.pack("<HHII", 0, kind, len(trailer) - place, size_bytes) for kind, place, size_bytes in entries
    )
    return trailer + listed + struct.pack("<I", len(listed)) + b"SEFT"


VIDEO = b"\0\0\0\x18ftypmp42" + np.random.default_rng(1).bytes(4000)
PANORAMA = (0x0201, b"Panorama_Shot_Info", VIDEO)
TRAILERS = {
    "nothing": b"",
    "half a marker": b"\xff",
    "zeros": bytes(500),
    "fill": b"\xff" * 7,
    "samsung": samsung_trailer((0x0A01, b"Image_UTC_Data", b"1616161616161"), PANORAMA),
    "samsung without its list": samsung_trailer((0x0A01, b"Image_UTC_Data", b"1616161616161"))[:-40] + b"SEFT",
    "video": VIDEO,
    "zeros and video": bytes(64) + VIDEO,
    "zeros and more": bytes(64) + b"unknown",
    "another picture": craft.jpeg(craft.photo(16, 16)),
    "a multipart stream": b"\r\n--myboundary\r\nContent-Type: image/jpeg\r\n\r\n",
}


@pytest.mark.parametrize("trailer", TRAILERS)
@pytest.mark.parametrize("clean", [JPEG, PROGRESSIVE], ids=["baseline", "progressive"])
@pytest.mark.parametrize("factor", [1, 8])
def test_a_whole_picture_without_its_end_is_taken(trailer, clean, factor):
    data = memoryview(clean[:-2] + TRAILERS[trailer])
    assert np.array_equal(decode(data, LIMITS, reduction=factor), decode(memoryview(clean), LIMITS, reduction=factor))
    assert read_header(data, LIMITS).size == read_header(memoryview(clean), LIMITS).size


@pytest.mark.parametrize("trailer", TRAILERS)
@pytest.mark.parametrize("clean", [JPEG, PROGRESSIVE], ids=["baseline", "progressive"])
def test_a_cut_picture_is_refused_whatever_follows_it(trailer, clean):
    start = clean.rfind(b"\xff\xda")
    for place in range(start, len(clean) - 4, 7):
        with pytest.raises(Rejected):
            read(clean[:place] + TRAILERS[trailer])


@pytest.mark.parametrize("trailer", TRAILERS)
def test_a_trailer_behind_the_end_is_ignored(trailer):
    assert same(JPEG + TRAILERS[trailer], JPEG)


def endings(data: bytes) -> Iterator[int]:
    yield from range(max(0, len(data) - 300), len(data))
    yield from range(0, len(data), 41)


@pytest.mark.parametrize("sample", CUTTABLE, ids=str)
def test_every_cut_that_loses_pixels_is_refused(sample: Sample):
    """And the same cut with zeros behind, as from a disk that was pulled out."""
    clean, taken = read(sample.data), 0
    for length in endings(sample.data):
        for filled in (0, 400):
            try:
                image = read(sample.data[:length] + bytes(filled))
            except Rejected:
                continue
            assert np.array_equal(image, clean), length
            taken += 1
    assert taken  # without the end marker alone


FLAT = [
    corpus.saved(Pillow.new("RGB", (96, 64), colour), "JPEG", optimize=flag)
    for colour in ("black", "#0a7bff")
    for flag in (0, 1)
]


@given(st.sampled_from([*FLAT, JPEG, PROGRESSIVE]), st.data(), st.sampled_from(sorted(TRAILERS)))
@settings(max_examples=400)
def test_a_jpeg_cut_anywhere_is_whole_or_refused(clean, drawn, trailer):
    # In a header that is cut, the tables of another picture would count: all decoders see that one then.
    length = drawn.draw(st.integers(clean.rindex(b"\xff\xda") + 10, len(clean)))
    try:
        image = read(clean[:length] + TRAILERS[trailer])
    except Rejected:
        return
    assert np.array_equal(image, read(clean))


def test_a_png_without_its_end_is_taken_and_one_without_pixels_is_not():
    png = craft.png(PHOTO)
    for left in range(12):
        assert same(png[: len(png) - 12 + left], png)
    with pytest.raises(Rejected, match="the PNG is truncated"):
        read(png[:-13])
    header, *others = craft.png_chunks(png)
    pixels = b"".join(body for kind, body in others if kind == b"IDAT")
    with pytest.raises(Rejected, match="the PNG is truncated: it has no end, and not all its pixels"):
        read(craft.png_of([header, (b"IDAT", pixels[:-40])]))


@pytest.mark.parametrize("kind", [b"iTXt", b"tEXt"])
def test_text_larger_than_libpng_takes_is_left_out(kind):
    """Nine megabytes of XMP come from Photoshop's history."""
    text = b"XML:com.adobe.xmp\0" + (bytes(4) if kind == b"iTXt" else b"") + b"x" * (9 * 2**20)
    png = craft.with_chunk(craft.png(PHOTO), (kind, text))
    assert np.array_equal(read(png), PHOTO)
    broken = bytearray(png)
    broken[2**20] ^= 1
    with pytest.raises(Rejected, match="a wrong checksum of its " + kind.decode()):
        read(bytes(broken))


TILED: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
    "rgb": (PHOTO[:, :, ::-1], {"photometric": "rgb"}),
    "gray": (np.ascontiguousarray(PHOTO[:, :, 0]), {}),
    "rgba": (np.dstack([PHOTO, PHOTO[:, :, :1]]), {"photometric": "rgb", "extrasamples": ["unassalpha"]}),
    "planes": (np.ascontiguousarray(PHOTO.transpose(2, 0, 1)), {"photometric": "rgb", "planarconfig": "separate"}),
    "white": (np.ascontiguousarray(PHOTO[:, :, 0]), {"photometric": "miniswhite"}),
    "rgb16": (PHOTO.astype("u2") * 257, {"photometric": "rgb"}),
    "bilevel": (PHOTO[:, :, 0] > 90, {"photometric": "minisblack"}),
}


@pytest.mark.parametrize("kind", TILED)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("size_px", [(72, 48), (71, 47), (16, 16), (5, 3)])
@pytest.mark.parametrize("tile", [(16, 16), (16, 48), (32, 16)])
def test_tiles_of_any_size_are_taken(kind, order, size_px, tile):
    pixels, options = TILED[kind]
    width_px, height_px = size_px
    rows, columns = (1, 2) if kind == "planes" else (0, 1)
    part = np.take(np.take(pixels, range(height_px), rows), range(width_px), columns)
    file = io.BytesIO()
    compression: dict[str, Any] = {"compression": "packbits"} if kind == "bilevel" else {}
    tifffile.imwrite(file, part, tile=tile, metadata=None, byteorder=order, **options, **compression)
    seen = corpus.references(Sample("tiles", "tiff", file.getvalue()), file.getvalue())
    if kind == "bilevel" and isinstance(seen["tifffile"], str):
        pytest.skip("tifffile does not write such")
    assert np.array_equal(read(file.getvalue()), seen["tifffile"])


def test_a_cut_tiff_of_tiles_is_refused():
    file = io.BytesIO()
    tifffile.imwrite(file, PHOTO, tile=(16, 16), metadata=None, photometric="rgb")
    for length in range(8, len(file.getvalue()), 101):
        with pytest.raises(Rejected):
            read(file.getvalue()[:length])
