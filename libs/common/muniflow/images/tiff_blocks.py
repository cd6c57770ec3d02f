"""Whether each strip and tile of a TIFF decodes to the bytes that its pixels need.

libtiff stops as soon as it has enough, so it sees neither Deflate's checksum nor what is left over, and a damaged strip
most often decodes to another length. Of JPEG it decodes only the rows that it needs, so each strip is decoded here to
get the complaints of libjpeg. CCITT is not checked: libtiff reports its damage.
"""

import zlib

import numpy as np
from numpy.typing import NDArray

from muniflow.errors import Rejected
from muniflow.images.complaints import complaint
from muniflow.images.fields import damaged, quoted, unsupported
from muniflow.images.jpeg import read_jpeg
from muniflow.images.limits import DEFAULT_LIMITS
from muniflow.images.tiff import DEFLATE, JPEG, LZW, PACKBITS, UNCODED, Block, tiff_layout
from muniflow.images.turbo import jpeg_complaint

_REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))
_CLEAR, _END, _FIRST_FREE = 256, 257, 258
_MAX_CODES = 4096 - _FIRST_FREE + 2
"""Codes after which a table is full: from then on there is one more entry after each code but the first."""
# A code is wider as soon as the next entry would not fit, one entry early.
_BITS = 9 + np.searchsorted([511, 1023, 2047], _FIRST_FREE - 1 + np.maximum(1, np.arange(_MAX_CODES)), side="right")
_PLACES = np.concatenate([[0], np.cumsum(_BITS)[:-1]])
"""Where each code begins, in bits after the code that cleared the table."""
_NO_RUN = 128


def check_blocks(data: memoryview) -> None:
    """Refuse a TIFF with a strip or tile that does not decode to its exact size; its header was checked.

    Raises:
        Rejected: damaged, or coded in the LZW of before 1988.
    """
    layout = tiff_layout(data)
    for number, block in enumerate(layout.blocks):
        coded = bytes(data[block.start : block.start + block.length])
        if layout.coding == JPEG:
            _check_jpeg(layout.jpeg_tables, coded, number)
            continue
        if layout.reversed_bits:
            coded = coded.translate(_REVERSED)
        decoded_bytes = _decoded_bytes(layout.coding, coded, block)
        if decoded_bytes not in {block.pixel_bytes, block.whole_bytes, None}:
            damaged("tiff", f"strip or tile {number} has {decoded_bytes} bytes of pixels; needed: {block.pixel_bytes}")


def _check_jpeg(tables: bytes, coded: bytes, number: int) -> None:
    whole = memoryview(tables[:-2] + coded[2:] if tables else coded)
    try:
        read_jpeg(whole, DEFAULT_LIMITS)
        line = jpeg_complaint(whole)
        words = line and complaint("jpeg", (line,), whole)
        told = words and quoted(words)
    except Rejected as error:
        told = str(error)
    if told:
        damaged("tiff", f"strip or tile {number}: {told}")


def _decoded_bytes(coding: int, coded: bytes, block: Block) -> int | None:
    """Bytes that a strip or tile decodes to; `None` where libtiff reports damage itself."""
    if coding == UNCODED:
        return min(len(coded), block.whole_bytes) if len(coded) >= block.pixel_bytes else len(coded)
    if coding in DEFLATE:
        return inflated_bytes(coded, block.whole_bytes)
    if coding == LZW:
        return lzw_bytes(coded)
    if coding == PACKBITS:
        return packbits_bytes(coded)
    return None


def inflated_bytes(coded: bytes, most_bytes: int) -> int:
    """Length of what `coded` inflates to, its checksum proven; counts no further than one beyond `most_bytes`."""
    stream = zlib.decompressobj()
    try:
        size_bytes = len(stream.decompress(coded, most_bytes + 1))
    except zlib.error as error:
        damaged("tiff", quoted(error))
    if size_bytes <= most_bytes and not stream.eof:
        damaged("tiff", "a strip or tile ends before its checksum")
    return size_bytes


def packbits_bytes(coded: bytes) -> int:
    """Length of what `coded` unpacks to."""
    size_bytes = place = 0
    while place < len(coded):
        count = coded[place]
        if count < _NO_RUN:
            size_bytes += count + 1
            place += count + 2
        elif count == _NO_RUN:
            place += 1
        else:
            size_bytes += 257 - count
            place += 2
    if place > len(coded):
        damaged("tiff", "a strip or tile ends inside a run")
    return size_bytes


def lzw_bytes(coded: bytes) -> int:
    """Length of what `coded` expands to, up to its end code; nothing is expanded."""
    if coded[:1] == b"\0" and coded[1:2] and coded[1] & 1:
        unsupported("the TIFF is coded in the LZW of before 1988; allowed: LZW of TIFF 6.0")
    padded = np.frombuffer(coded + bytes(2), np.uint8)
    place, size_bytes = 0, 0
    while True:
        codes = _codes(padded, place, len(coded) * 8)
        stops = np.flatnonzero((codes == _CLEAR) | (codes == _END))
        end = int(stops[0]) if stops.size else len(codes)
        size_bytes += _expanded_bytes(codes[:end])
        if not stops.size:
            if len(codes) == _MAX_CODES:
                damaged("tiff", "LZW fills its table and goes on")
            return size_bytes
        if codes[end] == _END:
            return size_bytes
        place += int(_PLACES[end] + _BITS[end])


def _codes(padded: NDArray[np.uint8], place: int, end: int) -> NDArray[np.int64]:
    """The codes from bit `place` on, as if none of them cleared the table."""
    count = int(np.searchsorted(_PLACES + _BITS, end - place, side="right"))
    bits = place + _PLACES[:count]
    first = bits >> 3
    words = padded[first].astype(np.int64) << 16 | padded[first + 1].astype(np.int64) << 8 | padded[first + 2]
    codes: NDArray[np.int64] = words >> (24 - (bits & 7) - _BITS[:count]) & ((1 << _BITS[:count]) - 1)
    return codes


def _expanded_bytes(codes: NDArray[np.int64]) -> int:
    """Sum of the lengths of strings: an entry is one byte longer than the code that came before it was made."""
    numbers = np.arange(len(codes))
    links = codes > _END
    parents = np.where(links, codes - _FIRST_FREE, numbers)
    if np.any(parents[links] >= numbers[links]):
        damaged("tiff", "LZW uses a code that is not in its table yet")
    lengths = links.astype(np.int64)
    while np.any(more := lengths[parents]):
        lengths += more
        parents = parents[parents]
    return len(codes) + int(lengths.sum())
