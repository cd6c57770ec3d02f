"""The one thing that we want of EXIF: the orientation. Everything else in it (places, people) never leaves decoding."""

import struct

from muniflow.images.fields import UPRIGHT

_ORIENTATION = 0x0112
_SHORT = 3
_ENTRY_BYTES = 12
_MAX_ENTRIES = 1024
_UPSIDE = range(1, 9)


def orientation_of(block: memoryview) -> int:
    """The orientation that an EXIF block states, 1 to 8; 1 where it states none, or is broken.

    Args:
        block: a TIFF structure: from its byte order mark on.
    """
    # A broken EXIF block is no reason to refuse the photograph: all viewers show such an image as it is stored.
    try:
        return _read(block)
    except struct.error:
        return UPRIGHT


def _read(block: memoryview) -> int:
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(block[:4]))
    if order is None:
        return UPRIGHT
    (start,) = struct.unpack_from(f"{order}I", block, 4)
    (entries,) = struct.unpack_from(f"{order}H", block, start)
    for number in range(min(entries, _MAX_ENTRIES)):
        tag, kind, count, value = struct.unpack_from(f"{order}HHIH", block, start + 2 + number * _ENTRY_BYTES)
        if tag == _ORIENTATION:
            return value if kind == _SHORT and count == 1 and value in _UPSIDE else UPRIGHT
    return UPRIGHT
