"""The orientation counts wherever Pillow's `exif_transpose` finds it, and as it reads it."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageOps
from tests.unit.images import craft

from muniflow.images.decode import decode
from muniflow.images.limits import ImageLimits

LIMITS = ImageLimits(formats=("jpeg", "png", "webp", "tiff"))
IMAGE = craft.photo(24, 16)
JPEG, PNG, WEBP = craft.jpeg(IMAGE), craft.png(IMAGE), craft.lossless_webp(IMAGE)
PREFIX = b"Exif\0\0"


def block(orientation: float, kind: int = 3, order: str = "<", count: int = 1) -> bytes:
    """An EXIF block whose orientation is a number of TIFF's type `kind`."""
    layouts = {1: "B3x", 3: "H2x", 4: "I", 6: "b3x", 8: "h2x", 9: "i", 11: "f"}
    behind = b""
    if kind in layouts:
        value = struct.pack(order + layouts[kind], orientation if kind == 11 else int(orientation))
    else:
        value = struct.pack(f"{order}I", 26)
        behind = {
            5: struct.pack(f"{order}II", int(orientation) * 2, 2),
            10: struct.pack(f"{order}ii", -int(orientation), -1),
            12: struct.pack(f"{order}d", orientation),
        }[kind]
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(f"{order}IHHHI", 8, 1, 0x0112, kind, count) + value + bytes(4) + behind


def xmp(orientation: int, *, attribute: bool = True) -> bytes:
    stated = (
        f' tiff:Orientation="{orientation}"/>' if attribute else f"><tiff:Orientation>{orientation}</tiff:Orientation>"
    )
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description{stated}</x:xmpmeta>'.encode()


def in_jpeg(*segments: bytes) -> bytes:
    return craft.after_start(JPEG, b"".join(craft.segment(0xE1, body) for body in segments))


def in_png(*chunks: tuple[bytes, bytes], late: bool = False) -> bytes:
    header, *others, end = craft.png_chunks(PNG)
    return craft.png_of([header, *others, *chunks, end] if late else [header, *chunks, *others, end])


def in_webp(*chunks: tuple[bytes, bytes]) -> bytes:
    flags = 8 * any(kind == b"EXIF" for kind, _ in chunks) + 4 * any(kind == b"XMP " for kind, _ in chunks)
    return craft.webp_of([craft.webp_canvas(24, 16, flags), *craft.webp_chunks(WEBP), *chunks])


def raw_profile(data: bytes) -> bytes:
    """As ImageMagick writes it."""
    digits = data.hex()
    lines = "\n".join(digits[place : place + 72] for place in range(0, len(digits), 72))
    return f"\nexif\n{len(data):8}\n{lines}\n".encode()


def tiff_with(kind: int, value: int, more: dict[int, bytes] | None = None) -> bytes:
    file = io.BytesIO()
    info = {700: (more or {}).get(700, b"")} if more else {}
    Pillow.fromarray(IMAGE[:, :, ::-1]).save(file, "TIFF", tiffinfo=info)
    data = bytearray(file.getvalue())
    if kind:
        data = bytearray(craft.tiff(IMAGE[:, :, ::-1], {274: value}))
        place = data.index(struct.pack("<HH", 274, 3))
        data[place : place + 12] = struct.pack("<HHII", 274, kind, 1, value)
    return bytes(data)


XMP = b"http://ns.adobe.com/xap/1.0/\0"
RAW = b"Raw profile type exif\0"
ITXT = b"XML:com.adobe.xmp\0"
ZTXT = RAW + b"\0" + zlib.compress(raw_profile(PREFIX + block(6)))
FILES = {
    **{
        f"jpeg, type {kind}, {order}, {value}": in_jpeg(PREFIX + block(value, kind, order))
        for kind in (1, 3, 4, 5, 6, 8, 9, 10, 11, 12)
        for order in "<>"
        for value in (3, 6)
    },
    "jpeg, two values": in_jpeg(PREFIX + block(6, 3, count=2)),
    "jpeg, 6.5": in_jpeg(PREFIX + block(6.5, 11)),
    "jpeg, 9": in_jpeg(PREFIX + block(9, 4)),
    "jpeg, doubled prefix": in_jpeg(PREFIX * 2 + block(6)),
    "jpeg, XMP": in_jpeg(XMP + xmp(6)),
    "jpeg, XMP element": in_jpeg(XMP + xmp(8, attribute=False)),
    "jpeg, XMP of 9": in_jpeg(XMP + xmp(9)),
    "jpeg, EXIF before XMP": in_jpeg(PREFIX + block(3), XMP + xmp(6)),
    "jpeg, EXIF upright before XMP": in_jpeg(PREFIX + block(1), XMP + xmp(6)),
    "jpeg, EXIF without, XMP": in_jpeg(PREFIX + b"II*\0" + struct.pack("<IHI", 8, 0, 0), XMP + xmp(6)),
    "png, eXIf as LONG": in_png((b"eXIf", block(6, 4))),
    "png, eXIf with a prefix": in_png((b"eXIf", PREFIX + block(6))),
    "png, raw profile": in_png((b"tEXt", RAW + raw_profile(PREFIX + block(6)))),
    "png, raw profile, compressed": in_png((b"zTXt", ZTXT)),
    "png, raw profile behind the pixels": in_png((b"zTXt", ZTXT), late=True),
    "png, eXIf before raw profile": in_png((b"zTXt", ZTXT), (b"eXIf", block(3))),
    "png, XMP": in_png((b"iTXt", ITXT + bytes(4) + xmp(6))),
    "png, XMP, compressed": in_png((b"iTXt", ITXT + b"\1\0\0\0" + zlib.compress(xmp(8)))),
    "png, EXIF before XMP": in_png((b"iTXt", ITXT + bytes(4) + xmp(6)), (b"eXIf", block(3))),
    "webp, EXIF as LONG": in_webp((b"EXIF", block(6, 4))),
    "webp, EXIF with a prefix": in_webp((b"EXIF", PREFIX + block(6))),
    "webp, XMP": in_webp((b"XMP ", xmp(6))),
    "webp, EXIF before XMP": in_webp((b"EXIF", block(3)), (b"XMP ", xmp(6))),
    "tiff, LONG": tiff_with(4, 6),
    "tiff, SHORT": tiff_with(3, 8),
    "tiff, signed": tiff_with(9, 6),
    "tiff, XMP": tiff_with(0, 0, {700: xmp(6)}),
}


@pytest.mark.filterwarnings("ignore:Metadata Warning")
@pytest.mark.parametrize("name", FILES)
def test_the_orientation_is_that_of_pillow(name):
    with Pillow.open(io.BytesIO(FILES[name])) as image:
        seen = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))[:, :, ::-1]
    found = decode(memoryview(FILES[name]), LIMITS)
    assert np.array_equal(found, seen)


def test_most_of_them_are_turned():
    """So that no mistake in the files above goes unnoticed."""
    shapes = [decode(memoryview(data), LIMITS).shape for data in FILES.values()]
    assert shapes.count((24, 16, 3)) >= 25


@pytest.mark.parametrize(
    "chunk",
    [
        (b"tEXt", RAW + b"\nexif\n 4\nnot hexadecimal"),
        (b"tEXt", RAW),
        (b"zTXt", RAW + b"\0not deflated"),
        (b"iTXt", ITXT + b"\1\0\0\0not deflated"),
        (b"iTXt", ITXT + b"\1"),
        (b"zTXt", RAW + b"\0" + zlib.compress(b"\nexif\n9\n" + bytes(10**8), 1)),
    ],
)
def test_broken_text_is_no_reason_to_refuse_a_picture(chunk):
    assert np.array_equal(decode(memoryview(in_png(chunk)), LIMITS), IMAGE)
