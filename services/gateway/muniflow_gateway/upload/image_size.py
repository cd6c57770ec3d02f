"""How many pixels an encoded image has, from the little of it that says so. Judging the image is the workers' business.

Reads a few kilobytes whatever the size of the file: `muniflow.images.header` reads it whole, to find what is missing.
"""

import struct
from typing import BinaryIO

from muniflow.images.limits import SourceFormat
from muniflow.images.sniff import format_of
from muniflow.model.operation import Size

HEAD_BYTES = 32
MAX_SEGMENTS = 500
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
"""JPEG markers without a segment."""


def measure(stream: BinaryIO) -> Size | None:
    """The size that an image claims to have; `None` where it cannot be told without decoding."""
    head = stream.read(HEAD_BYTES)
    return _size(format_of(memoryview(head)), head, stream)


def image_format(stream: BinaryIO) -> SourceFormat | None:
    """The format of an image whose header states its pixels; `None` for all else, whatever it begins with.

    Of a TIFF only the first bytes are read: its size can be anywhere in the file.
    """
    head = stream.read(HEAD_BYTES)
    found = format_of(memoryview(head))
    if found == "tiff":
        return found
    size = _size(found, head, stream)
    return found if size is not None and size.pixels else None


def _size(found: SourceFormat | None, head: bytes, stream: BinaryIO) -> Size | None:
    try:
        match found:
            case "png" if head[12:16] == b"IHDR":
                return Size(*struct.unpack_from(">II", head, 16))
            case "webp":
                return _webp(head)
            case "jpeg":
                return _jpeg(head[2:], stream)
            case _:
                return None
    except struct.error:
        return None


def _webp(head: bytes) -> Size | None:
    match head[12:16]:
        case b"VP8X":
            return Size(1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little"))
        case b"VP8L":
            (bits,) = struct.unpack_from("<I", head, 21)
            return Size(1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
        case b"VP8 ":
            width, height = struct.unpack_from("<HH", head, 26)
            return Size(width & 0x3FFF, height & 0x3FFF)
        case _:
            return None


def _jpeg(begun: bytes, stream: BinaryIO) -> Size | None:
    """Walk over the segments to the frame header; skips what is between without keeping it."""
    reader = _Reader(begun, stream)
    for _ in range(MAX_SEGMENTS):
        marker = reader.marker()
        if marker is None or marker in _ALONE:
            if marker is None:
                return None
            continue
        (length,) = struct.unpack(">H", reader.take(2))
        if marker in _FRAMES:
            height, width = struct.unpack(">xHH", reader.take(5))
            return Size(width, height)
        reader.skip(length - 2)
    return None


class _Reader:
    """Bytes that were read already, then those of a stream."""

    def __init__(self, begun: bytes, stream: BinaryIO) -> None:
        self._begun = begun
        self._stream = stream

    def take(self, count: int) -> bytes:
        taken, self._begun = self._begun[:count], self._begun[count:]
        return taken + self._stream.read(count - len(taken)) if len(taken) < count else taken

    def skip(self, count: int) -> None:
        while count > 0:
            taken = self.take(min(count, 65536))
            if not taken:
                return
            count -= len(taken)

    def marker(self) -> int | None:
        """The next marker; `None` when something else stands there, or nothing."""
        if self.take(1) != b"\xff":
            return None
        byte = b"\xff"
        for _ in range(64):  # a marker may be filled up with 0xFF
            byte = self.take(1)
            if byte != b"\xff":
                break
        return byte[0] if byte and byte not in {b"\xff", b"\x00"} else None
