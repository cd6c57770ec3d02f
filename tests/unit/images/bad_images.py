"""Files that are no images, not any more, or not ones to decode: each must end as `Rejected` with its reason.

Other suites put them into batches: `name` is a fit key for a store, `data` the file, `reason` a part of the text.
"""

import struct
import zlib
from functools import cache
from typing import NamedTuple

from tests.unit.images import craft


class BadImage(NamedTuple):
    """A file that must be refused."""

    name: str
    """A file name; not always with the extension that its content deserves."""
    data: bytes
    reason: str
    """What the text of `Rejected` holds."""

    def __str__(self) -> str:
        return self.name


@cache
def bad_images() -> tuple[BadImage, ...]:
    """The catalogue; a few hundred kilobytes in all."""
    return (*_no_images(), *_truncated(), *_bombs(), *_damaged(), *_not_allowed())


def _no_images() -> list[BadImage]:
    return [
        BadImage("empty.jpg", b"", "the file is empty"),
        BadImage("one-byte.jpg", b"\xff", "not an image that is allowed"),
        BadImage("zeros.jpg", bytes(4096), "only zero bytes"),
        BadImage("text.jpg", b"Dear municipality,\nthe photograph is attached.\n", "it seems to be text"),
        BadImage("page.png", b"<!DOCTYPE html><html><body>404</body></html>", "HTML"),
        BadImage("letter.jpg", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "a PDF"),
        BadImage("archive.png", b"PK\x03\x04" + bytes(60), "a ZIP archive"),
        BadImage("phone.jpg", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "the HEIC is truncated"),
        BadImage("paint.jpg", b"BM" + bytes(60), "a BMP"),
        BadImage("small.jpg", _gif(1, 1), "a GIF"),
        BadImage("scan.tif", craft.tiff(craft.noise(4, 4)), "a TIFF"),
        BadImage("magic-and-garbage.jpg", b"\xff\xd8\xff" + b"garbage" * 40, "the JPEG"),
        BadImage("magic-and-garbage.png", craft.PNG_SIGNATURE + b"garbage" * 40, "the PNG"),
        BadImage("magic-and-garbage.webp", b"RIFF\x10\0\0\0WEBPgarbagegarbage", "the WebP"),
        BadImage("magic-only.jpg", b"\xff\xd8\xff", "the JPEG is truncated"),
        BadImage("magic-only.png", craft.PNG_SIGNATURE, "the PNG is truncated"),
        BadImage("magic-only.webp", b"RIFF\x04\0\0\0WEBP", "the WebP is damaged: it has no pixels"),
    ]


def _truncated() -> list[BadImage]:
    image = craft.photo(320, 240)
    jpeg, progressive, png, webp = (
        craft.jpeg(image),
        craft.jpeg(image, progressive=True),
        craft.png(image),
        craft.lossy_webp(image),
    )
    half_webp = webp[: len(webp) // 2]
    return [
        BadImage("half.jpg", jpeg[: len(jpeg) // 2], "the JPEG is truncated"),
        BadImage("without-last-bytes.jpg", jpeg[:-6], "the JPEG is truncated"),
        BadImage("half-and-zeros.jpg", jpeg[: len(jpeg) // 2] + bytes(len(jpeg) // 2), "the JPEG is truncated"),
        BadImage("half-and-closed.jpg", jpeg[: len(jpeg) // 2] + b"\xff\xd9", "the JPEG is damaged"),
        BadImage("cut-in-header.jpg", jpeg[:100], "the JPEG is truncated"),
        BadImage("half-progressive.jpg", progressive[: len(progressive) // 2], "the JPEG is truncated"),
        BadImage("first-scan-and-closed.jpg", _first_scan(progressive), "do not carry all coefficients"),
        BadImage("left-over-pixels.jpg", jpeg[:-2] + jpeg[-40:], "the JPEG is damaged"),
        BadImage("half.png", png[: len(png) // 2], "the PNG is truncated"),
        BadImage("without-last-bytes.png", png[:-14], "the PNG is truncated"),
        BadImage("half-and-closed.png", _half_png(png), "the PNG is damaged"),
        BadImage("half.webp", half_webp, "the WebP is truncated"),
        BadImage(
            "half-and-closed.webp", half_webp[:4] + struct.pack("<I", len(half_webp) - 8) + half_webp[8:], "truncated"
        ),
    ]


def _bombs() -> list[BadImage]:
    jpeg = craft.jpeg(craft.photo(320, 240))
    progressive = craft.jpeg(craft.photo(64, 64), progressive=True)
    side = 20000
    rows = zlib.compress(bytes((side // 8 + 1) * side), 9)
    return [
        BadImage("bomb-51-bytes.gif", _gif(30000, 30000), "a GIF"),
        BadImage("bomb.jpg", craft.patched_size(jpeg, 30000, 30000), "30000x30000"),
        BadImage(
            "bomb.png", craft.png_of([craft.png_header(side, side, 1, 0), (b"IDAT", rows), (b"IEND", b"")]), "limit"
        ),
        BadImage("claim.png", craft.png_of([craft.png_header(2**31 - 1, 2**31 - 1), (b"IEND", b"")]), "limit"),
        BadImage("claim.webp", craft.webp_of([(b"VP8L", struct.pack("<BI", 0x2F, 2**28 - 1))]), "16384x16384"),
        BadImage("thousand-scans.jpg", craft.with_scans(progressive, 1000), "more than 64 scans"),
    ]


def _damaged() -> list[BadImage]:
    image = craft.photo(64, 48)
    jpeg, png, webp = craft.jpeg(image), craft.png(image), craft.lossy_webp(image)
    header, *others = craft.png_chunks(png)
    flipped = bytearray(png)
    flipped[len(png) // 2] ^= 0x55
    return [
        BadImage("no-width.jpg", craft.patched_size(jpeg, 0, 48), "it has no pixels"),
        BadImage("no-height.png", craft.png_of([craft.png_header(64, 0), *others]), "it has no pixels"),
        BadImage("flipped-bits.png", bytes(flipped), "the PNG is damaged"),
        BadImage("no-pixels.png", craft.png_of([header, (b"IEND", b"")]), "the PNG is damaged: it has no pixels"),
        BadImage("no-frame.jpg", b"\xff\xd8\xff\xd9" + bytes(8), "the JPEG is damaged: it has no frame"),
        BadImage("wrong-canvas.webp", craft.webp_of([craft.webp_canvas(9, 9), *craft.webp_chunks(webp)]), "its canvas"),
    ]


def _not_allowed() -> list[BadImage]:
    png = craft.png(craft.photo(32, 32))
    webp = craft.lossy_webp(craft.photo(32, 32))
    return [
        BadImage("animated.png", craft.with_chunk(png, (b"acTL", struct.pack(">II", 1, 0))), "animated"),
        BadImage("animated.webp", craft.webp_of([craft.webp_canvas(32, 32, 2), *craft.webp_chunks(webp)]), "animated"),
        BadImage("arithmetic.jpg", craft.flat_jpeg((1, 2, 3), frame=0xC9), "arithmetic"),
        BadImage("twelve-bit.jpg", craft.flat_jpeg((1, 2, 3), precision=12, frame=0xC1), "12 bits"),
        BadImage("cmyk-of-unknown-kind.jpg", craft.flat_jpeg((1, 2, 3, 4), adobe=False), "CMYK"),
        BadImage("two-components.jpg", craft.flat_jpeg((1, 2)), "2 components"),
    ]


def _gif(width_px: int, height_px: int) -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", width_px, height_px, 0x80, 0, 0) + bytes(6)
    picture = b"\x2c" + struct.pack("<HHHHB", 0, 0, width_px, height_px, 0) + b"\x02\x02\x4c\x01\0\x3b"
    return (head + picture).ljust(51, b"\0")


def _first_scan(progressive: bytes) -> bytes:
    """A progressive JPEG cut behind its first scan and closed: all segments are whole."""
    first = progressive.find(b"\xff\xda")
    return progressive[: progressive.find(b"\xff\xda", first + 2)] + b"\xff\xd9"


def _half_png(png: bytes) -> bytes:
    """A PNG whose chunks are all fine, and whose pixels stop half way."""
    header, *others = craft.png_chunks(png)
    pixels = b"".join(body for kind, body in others if kind == b"IDAT")
    return craft.png_of([header, (b"IDAT", pixels[: len(pixels) // 2]), (b"IEND", b"")])
