"""Small valid files of each format, and seeded ways to break them."""

import random
import struct
from collections.abc import Iterator

import numpy as np
from tests.unit.images import craft

from muniflow.images.opencv import cv2

HEADER_BYTES = 64
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def valid_files() -> dict[str, bytes]:
    """By extension and kind; a few kilobytes each."""
    photo = craft.photo(40, 28)
    grey = cv2.cvtColor(photo, cv2.COLOR_BGR2GRAY)
    alpha = np.dstack([photo, grey])
    return {
        "baseline.jpg": craft.jpeg(photo),
        "progressive.jpg": craft.jpeg(photo, progressive=True),
        "grey.jpg": craft.encoded(".jpg", grey),
        "turned.jpg": craft.after_start(craft.jpeg(photo), craft.jpeg_exif(6)),
        "cmyk.jpg": craft.flat_jpeg((1, 2, 3, 4)),
        "colour.png": craft.png(photo),
        "alpha.png": craft.png(alpha),
        "deep.png": craft.png(photo.astype(np.uint16) * 257),
        "lossy.webp": craft.lossy_webp(photo),
        "lossless.webp": craft.lossless_webp(photo),
        "alpha.webp": craft.lossless_webp(alpha),
        "strip.tif": craft.tiff(photo),
    }


def mutated(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """`count` broken files with the extension of what they were; the same for the same arguments."""
    dice = random.Random(seed)
    files = valid_files()
    names = sorted(files)
    for number in range(count):
        name = names[number % len(names)]
        data = bytearray(files[name])
        for _ in range(dice.choice((1, 1, 1, 2, 4))):
            dice.choice(WAYS)(data, dice)
        if dice.random() < 0.05:
            data = bytearray(files[dice.choice(names)][: dice.randrange(200)]) + data[dice.randrange(200) :]
        yield name.rpartition(".")[2], bytes(data)


def _place(data: bytearray, dice: random.Random) -> int:
    """Headers decide the most, so half of all changes are there."""
    return dice.randrange(max(min(HEADER_BYTES, len(data)) if dice.random() < 0.5 else len(data), 1))


def _flip(data: bytearray, dice: random.Random) -> None:
    for _ in range(dice.choice((1, 2, 8))):
        if data:
            data[_place(data, dice)] ^= 1 << dice.randrange(8)


def _noise(data: bytearray, dice: random.Random) -> None:
    start = _place(data, dice)
    data[start : start + 8] = dice.randbytes(min(8, len(data) - start))


def _extreme(data: bytearray, dice: random.Random) -> None:
    """A length, a size or a count that is as large as its field, or nothing."""
    kind, most = dice.choice((("B", 0xFF), (">H", 0xFFFF), ("<H", 0xFFFF), (">I", 0xFFFFFFFF), ("<I", 0xFFFFFFFF)))
    field = struct.pack(kind, dice.choice([value for value in EXTREMES if value <= most]))
    start = _place(data, dice)
    data[start : start + len(field)] = field


def _cut(data: bytearray, dice: random.Random) -> None:
    del data[_place(data, dice) :]


def _drop(data: bytearray, dice: random.Random) -> None:
    start = _place(data, dice)
    del data[start : start + dice.choice((1, 2, 4, 64))]


def _insert(data: bytearray, dice: random.Random) -> None:
    start = _place(data, dice)
    data[start:start] = dice.randbytes(dice.choice((1, 4, 64)))


def _repeat(data: bytearray, dice: random.Random) -> None:
    start = _place(data, dice)
    data[start:start] = data[start : start + 512] * dice.choice((1, 20))


WAYS = (_flip, _flip, _noise, _extreme, _extreme, _cut, _drop, _insert, _repeat)
