"""The ICC profile that a file carries. Pure; needs no numpy and no littleCMS.

Parsers note only where it is: most files are looked at for their size alone.
"""

import zlib
from collections.abc import Sequence
from typing import Final

from muniflow.images.fields import Colours, ImageHeader
from muniflow.images.matrix_profile import profile_of_space

MAX_PROFILE_BYTES = 16 * 2**20
"""What is longer counts as no profile. Those of printing presses have up to about 3 MB."""
JPEG_PREFIX = b"ICC_PROFILE\0"
JPEG_HEAD_BYTES = len(JPEG_PREFIX) + 2
"""In front of each part: the prefix, its number, and how many parts there are."""
_HEAD_BYTES = 128
_MARK, _MARK_AT = b"acsp", 36
_SPACES: Final[dict[Colours, bytes]] = {"gray": b"GRAY", "rgb": b"RGB ", "cmyk": b"CMYK"}
_SPACE_AT = 16


def jpeg_places(parts: Sequence[tuple[int, int, int, int]]) -> tuple[tuple[int, int], ...]:
    """Where the parts of a profile are, in order: each given as number, count, from and to. None if one is missing."""
    ordered = sorted(parts)
    count = ordered[0][1] if ordered else 0
    whole = [(number, of) for number, of, _, _ in ordered] == [(number, count) for number in range(1, count + 1)]
    return tuple((start, end) for _, _, start, end in ordered) if whole else ()


def profile_of(data: memoryview, header: ImageHeader) -> bytes | None:
    """The profile of a file whose header was read, or `None`: a broken one, and one for other colours, counts for none.

    Viewers show a photograph with a broken profile, too.
    """
    profile = _stated(data, header)
    if profile is not None or header.space is None or header.colours == "cmyk":
        return profile
    return profile_of_space(header.space, gray=header.colours == "gray")


def kept_profile(data: memoryview, header: ImageHeader) -> bytes | None:
    """The profile that goes with the pixels where colours are kept: of RGB, as outputs are RGB."""
    return profile_of(data, header) if header.colours == "rgb" else None


def _stated(data: memoryview, header: ImageHeader) -> bytes | None:
    if not header.profile or sum(end - start for start, end in header.profile) > MAX_PROFILE_BYTES:
        return None
    profile = b"".join(data[start:end] for start, end in header.profile)
    if header.format == "png":
        profile = _inflated(profile)
    head = profile[:_HEAD_BYTES]
    fits = head[_SPACE_AT : _SPACE_AT + 4] == _SPACES[header.colours]
    return profile if fits and head[_MARK_AT : _MARK_AT + 4] == _MARK else None


def _inflated(coded: bytes) -> bytes:
    """The content of PNG's chunk: behind a name and a method, as zlib packs it."""
    _, _, packed = coded.partition(b"\0")
    try:
        inflater = zlib.decompressobj()
        profile = inflater.decompress(packed[1:], MAX_PROFILE_BYTES)
    except zlib.error:
        return b""
    return profile if inflater.eof else b""
