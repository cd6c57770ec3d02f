"""Images made in code, whole ones and parts to break them with."""

import struct
import zlib
from collections.abc import Iterable, Sequence

import numpy as np

from muniflow.images.opencv import cv2
from muniflow.images.types import Image

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
Chunk = tuple[bytes, bytes]


def photo(width_px: int, height_px: int, seed: int = 1) -> Image:
    """Something like a photograph: soft shapes with some grain; the same for the same arguments."""
    random = np.random.default_rng(seed)
    shapes = random.integers(0, 256, (height_px // 16 + 2, width_px // 16 + 2, 3), dtype=np.uint8)
    soft = cv2.resize(shapes, (width_px, height_px), interpolation=cv2.INTER_CUBIC)
    grain = random.integers(-6, 7, soft.shape)
    image: Image = np.clip(soft.astype(np.int16) + grain, 0, 255).astype(np.uint8)
    return image


def noise(width_px: int, height_px: int, seed: int = 1, channels: int = 3) -> Image:
    """Every pixel is its own: for tests of order and place."""
    return np.random.default_rng(seed).integers(0, 256, (height_px, width_px, channels), dtype=np.uint8)


def shown(image: np.ndarray, orientation: int) -> np.ndarray:
    """What a viewer shows, by the definition in EXIF: where the first row and the first column are."""
    rows_and_columns = {
        1: image,
        2: image[:, ::-1],
        3: image[::-1, ::-1],
        4: image[::-1],
        5: image.transpose(1, 0, 2),
        6: image[::-1].transpose(1, 0, 2),
        7: image[::-1, ::-1].transpose(1, 0, 2),
        8: image.transpose(1, 0, 2)[::-1],
    }
    return rows_and_columns[orientation]


def encoded(extension: str, image: np.ndarray, parameters: Sequence[int] = ()) -> bytes:
    done, data = cv2.imencode(extension, image, list(parameters))
    assert done
    return data.tobytes()


def jpeg(image: Image, *, progressive: bool = False) -> bytes:
    return encoded(".jpg", image, [cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)])


def png(image: np.ndarray) -> bytes:
    return encoded(".png", image)


def lossless_webp(image: np.ndarray) -> bytes:
    return encoded(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, 101])


def lossy_webp(image: np.ndarray) -> bytes:
    return encoded(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, 80])


# JPEG


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def after_start(data: bytes, inserted: bytes) -> bytes:
    """A JPEG with segments put behind its start of image."""
    return data[:2] + inserted + data[2:]


def exif(orientation: int, order: str = "<") -> bytes:
    """An EXIF block with an orientation, and with a GPS tag that must never reach an output."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    entries = struct.pack(f"{order}HHIHH", 0x0112, 3, 1, orientation, 0) + struct.pack(f"{order}HHII", 0x8825, 4, 1, 38)
    gps = struct.pack(f"{order}HHHI4sI", 1, 1, 2, 2, b"N\0\0\0", 0)
    return mark + struct.pack(f"{order}IH", 8, 2) + entries + struct.pack(f"{order}I", 0) + gps


def jpeg_exif(orientation: int, order: str = "<") -> bytes:
    return segment(0xE1, b"Exif\0\0" + exif(orientation, order))


def patched_size(data: bytes, width_px: int, height_px: int) -> bytes:
    """A JPEG whose frame header claims another size."""
    place = max(data.find(b"\xff\xc0\x00\x11"), data.find(b"\xff\xc2\x00\x11"))
    assert place > 0
    return data[: place + 5] + struct.pack(">HH", height_px, width_px) + data[place + 9 :]


def flat_jpeg(values: Sequence[int], *, adobe: bool = True, precision: int = 8, frame: int = 0xC0) -> bytes:
    """An 8x8 baseline JPEG of one colour, with any number of components: DC coefficients and nothing else."""
    names = range(1, len(values) + 1)
    bits = ""
    for value in values:
        coefficient = (value - 128) * 8
        category = abs(coefficient).bit_length()
        amplitude = coefficient if coefficient > 0 else coefficient + (1 << category) - 1
        bits += f"{category:04b}" + (f"{amplitude:0{category}b}" if category else "") + "0"
    bits += "1" * (-len(bits) % 8)
    scan = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    parts = [
        b"\xff\xd8",
        segment(0xEE, b"Adobe" + struct.pack(">HHHB", 100, 0, 0, 0)) if adobe else b"",
        segment(0xDB, b"\0" + b"\1" * 64),
        segment(
            frame, struct.pack(">BHHB", precision, 8, 8, len(values)) + b"".join(bytes([n, 0x11, 0]) for n in names)
        ),
        segment(0xC4, b"\0" + bytes([0, 0, 0, 12, *[0] * 12]) + bytes(range(12))),
        segment(0xC4, b"\x10" + bytes([1, *[0] * 15]) + b"\0"),
        segment(0xDA, bytes([len(values)]) + b"".join(bytes([n, 0]) for n in names) + b"\0\x3f\0"),
        scan,
        b"\xff\xd9",
    ]
    return b"".join(parts)


def with_scans(data: bytes, times: int) -> bytes:
    """A progressive JPEG whose last scan comes `times` times more."""
    last = data.rfind(b"\xff\xda")
    return data[:-2] + data[last:-2] * times + data[-2:]


# PNG


def png_chunks(data: bytes) -> list[Chunk]:
    chunks, place = [], len(PNG_SIGNATURE)
    while place < len(data):
        (length,) = struct.unpack_from(">I", data, place)
        chunks.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + length]))
        place += length + 12
    return chunks


def png_of(chunks: Iterable[Chunk]) -> bytes:
    return PNG_SIGNATURE + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def png_header(width_px: int, height_px: int, bits: int = 8, colour: int = 2) -> Chunk:
    return b"IHDR", struct.pack(">IIBBBBB", width_px, height_px, bits, colour, 0, 0, 0)


def with_chunk(data: bytes, chunk: Chunk) -> bytes:
    """A PNG with a chunk put behind its header."""
    header, *others = png_chunks(data)
    return png_of([header, chunk, *others])


# WebP


def webp_chunks(data: bytes) -> list[Chunk]:
    chunks, place = [], 12
    while place < len(data):
        (length,) = struct.unpack_from("<I", data, place + 4)
        chunks.append((data[place : place + 4], data[place + 8 : place + 8 + length]))
        place += 8 + length + length % 2
    return chunks


def webp_of(chunks: Iterable[Chunk]) -> bytes:
    body = b"WEBP" + b"".join(
        kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2) for kind, content in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_canvas(width_px: int, height_px: int, flags: int = 0) -> Chunk:
    sides = (width_px - 1).to_bytes(3, "little") + (height_px - 1).to_bytes(3, "little")
    return b"VP8X", struct.pack("<I", flags) + sides


# TIFF


def tiff(image: np.ndarray, tags: dict[int, int] | None = None, order: str = "<") -> bytes:
    """An uncompressed TIFF of one strip; `tags` overrides or adds tags with one short value."""
    height_px, width_px, samples = image.shape
    bits = image.dtype.itemsize * 8
    pixels = image.astype(np.dtype(f"{order}u{image.dtype.itemsize}")).tobytes()
    values = {256: width_px, 257: height_px, 259: 1, 262: 2 if samples > 1 else 1, 274: 1, 277: samples, 278: height_px}
    values |= tags or {}
    names = sorted(values | {258: 0, 273: 0, 279: 0})
    start = 10 + 12 * len(names) + 4
    special = {
        258: struct.pack(f"{order}HHII", 258, 3, samples, start)
        if samples > 2
        else struct.pack(f"{order}HHIHH", 258, 3, samples, bits, bits * (samples - 1)),
        273: struct.pack(f"{order}HHII", 273, 4, 1, start + 8),
        279: struct.pack(f"{order}HHII", 279, 4, 1, len(pixels)),
    }
    entries = b"".join(
        special[name] if name in special else struct.pack(f"{order}HHIHH", name, 3, 1, values[name], 0)
        for name in names
    )
    mark = b"II*\0" if order == "<" else b"MM\0*"
    head = mark + struct.pack(f"{order}IH", 8, len(names)) + entries + bytes(4)
    return head + struct.pack(f"{order}4H", bits, bits, bits, bits) + pixels


def coded_tiff(
    width_px: int, height_px: int, coding: int, *strips: bytes, strip_rows: int = 0, tags: dict[int, int] | None = None
) -> bytes:
    """A little-endian RGB TIFF of 8 bits with strips that are coded already."""
    values = {256: width_px, 257: height_px, 259: coding, 262: 2, 277: 3, 278: strip_rows or height_px} | (tags or {})
    names = sorted(values | {258: 0, 273: 0, 279: 0})
    start = 10 + 12 * len(names) + 4
    bits = struct.pack("<4H", *[8] * 4)
    offsets, place = [], start + len(bits) + 8 * len(strips)
    for strip in strips:
        offsets.append(place)
        place += len(strip)
    lists = {273: offsets, 279: [len(strip) for strip in strips]}
    tables = {name: start + len(bits) + 4 * len(strips) * number for number, name in enumerate(lists)}
    entries = b""
    for name in names:
        if name == 258:
            entries += struct.pack("<HHII", 258, 3, values[277], start)
        elif name in lists:
            only = lists[name][0] if len(strips) == 1 else tables[name]
            entries += struct.pack("<HHII", name, 4, len(strips), only)
        else:
            entries += struct.pack("<HHIHH", name, 3, 1, values[name], 0)
    head = b"II*\0" + struct.pack("<IH", 8, len(names)) + entries + bytes(4) + bits
    return head + b"".join(struct.pack(f"<{len(strips)}I", *lists[name]) for name in lists) + b"".join(strips)
