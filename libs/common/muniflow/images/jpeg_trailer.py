"""What follows the picture of a JPEG whose end marker is missing: padding, or the trailer of a maker. Pure.

Samsung's panoramas are the best known: the picture goes over into a trailer (a video, a log of the sensors) without an
end of image. Where the trailer begins is looked for without the decoder: one that lacks pixels takes what follows them
for pixels.
"""

import re
import struct

_START, _END = b"\xff\xd8", b"\xff\xd9"
_SAMSUNG_END = b"SEFT"
_SAMSUNG_LIST = b"SEFH"
_ENTRY_BYTES = 12
_MAX_ENTRIES = 256

NEAR_BYTES = 32
"""So far before what is left over zeros are looked for: libjpeg reads up to 8 bytes ahead, which it does not count."""
_STRAY_BYTES = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
# A block of Samsung's trailer (its type, the length of its name, the name) or its list; a box of MP4; the next part
# of the stream of a camera; Canon's, vivo's.
_KNOWN = re.compile(
    rb"\0\0..[\x01-\x40]\0\0\0[A-Za-z_]{4}|SEF[HT]|\0\0..ftyp|\r\n--[!-~]{4}|CANON OPTIONAL DATA\0|vivo\{\"", re.DOTALL
)
_ZEROS = re.compile(rb"\0{16}")


def without_trailer(data: memoryview) -> memoryview:
    """`data` up to Samsung's trailer, where its list of blocks says where it begins; else all."""
    if data[-4:] != _SAMSUNG_END or len(data) < 2 * _ENTRY_BYTES:
        return data
    (length,) = struct.unpack_from("<I", data, len(data) - 8)
    start = len(data) - 8 - length
    if start < 0 or length < _ENTRY_BYTES or data[start : start + 4] != _SAMSUNG_LIST:
        return data
    _, entries = struct.unpack_from("<II", data, start + 4)
    if not entries <= _MAX_ENTRIES or _ENTRY_BYTES * (entries + 1) > length:
        return data
    before = max(
        (struct.unpack_from("<I", data, start + 16 + _ENTRY_BYTES * number)[0] for number in range(entries)), default=0
    )
    return data[: start - before] if before <= start else data


def closed(data: memoryview, end: int) -> memoryview:
    """A copy of `data` up to `end`, without padding there, with an end of image."""
    picture = bytes(data[:end]).rstrip(b"\0")
    if picture.endswith(b"\xff") and len(picture) < end:
        picture += b"\0"  # a coded 0xFF is followed by a zero
    return memoryview(picture + _END)


def end_before_trailer(data: memoryview, scan_start: int, end: int) -> int | None:
    """Where the picture of `data` ends that has no end of image; `None` where that cannot be told.

    Args:
        data: the file.
        scan_start: where its last scan begins.
        end: where a marker comes that cannot be in a scan, or the end of `data`.
    """
    known = _KNOWN.search(data[:end], scan_start)
    if known is not None:
        return known.start()
    if end < len(without_trailer(data)) and data[end : end + 2] != _START:
        return None  # inside something unknown, which the decoder might take for pixels
    return end


def end_before_zeros(closed_data: memoryview, told: str | None) -> int | None:
    """Where zeros begin in `closed` data that may not be pixels: those before what libjpeg `told` is left over."""
    stray = _STRAY_BYTES.search(told or "")
    read_up_to = len(closed_data) - len(_END) - (int(stray[1]) if stray else 0)
    zeros = _ZEROS.search(closed_data, max(0, read_up_to - NEAR_BYTES))
    return zeros.start() if zeros is not None and zeros.start() <= read_up_to else None
