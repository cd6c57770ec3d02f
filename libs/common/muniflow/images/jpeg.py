"""The header of a JPEG: jumps from segment to segment, and over scans at the speed of a C search. Needs no numpy."""

import re
from dataclasses import dataclass, field

from muniflow.errors import Rejected
from muniflow.images.exif import orientation_of
from muniflow.images.fields import UPRIGHT, ImageHeader, check_pixels, damaged, take, truncated
from muniflow.images.limits import ImageLimits

MAX_SEGMENTS = 4096
"""Segments of one file. Photographs have dozens, or a few hundred with a large colour profile."""

_SOI, _EOI, _SOS, _APP1, _APP14, _TEM = 0xD8, 0xD9, 0xDA, 0xE1, 0xEE, 0x01
_RESTARTS = range(0xD0, 0xD8)
_PROGRESSIVE = 0xC2
_DECODED_FRAMES = frozenset({0xC0, 0xC1, _PROGRESSIVE})
"""Baseline, extended and progressive, all with Huffman coding."""
_OTHER_FRAMES = frozenset({0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
"""Lossless, hierarchical and arithmetic coding: not in photographs, and not in every decoder."""

_TELLING = _DECODED_FRAMES | _OTHER_FRAMES | {_SOS, _APP1, _APP14}
"""Markers of segments that are looked into."""

_COEFFICIENTS = 64
_NOT_CODED = 0xFF
_END = b"\xff\xd9"
_FILL = re.compile(rb"\xff+")
# In a scan, 0xFF is followed by 0 (it was data) or by a restart marker; anything else ends the scan.
_END_OF_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_EXIF = b"Exif\0\0"


@dataclass
class _Found:
    """What the segments have said so far."""

    width_px: int = 0
    height_px: int = 0
    components: frozenset[int] = frozenset()
    scanned: set[int] = field(default_factory=set)
    """Components that some scan carries."""
    missing_bits: dict[int, bytearray] = field(default_factory=dict)
    """Of a progressive JPEG: for each component and coefficient, the low bits that no scan carried so far."""
    sequential: bool = False
    """Whether every scan carries all there is of its components."""
    scans: int = 0
    orientation: int | None = None
    adobe: bool = False

    @property
    def all_in_one_scan(self) -> bool:
        """Whether all pixels are in the one scan so far, which the decoder reads whole: it says what is missing."""
        return self.sequential and self.scans == 1 and self.scanned == self.components


def read_jpeg(data: memoryview, limits: ImageLimits) -> ImageHeader:
    """Read a JPEG up to its end of image; what follows it (other pictures of a set) is ignored.

    Raises:
        Rejected: beyond a limit, truncated, damaged, or coded in a way that is not allowed.
    """
    found = _Found()
    position = 2
    for _ in range(MAX_SEGMENTS):
        marker, position = _marker(data, position)
        if marker == _EOI:
            return _finish(found)
        if marker in _RESTARTS or marker == _TEM:
            continue
        if marker in {0, _SOI}:
            damaged("jpeg", f"marker 0x{marker:02x} at byte {position - 1}")
        end = _end_of_segment(data, position)
        if marker in _TELLING:
            _segment(found, marker, data[position + 2 : end], limits)
        if marker != _SOS:
            position = end
        elif found.all_in_one_scan and data[-2:] == _END:
            return _finish(found)
        else:
            position = _skip_scan(data, end)
    raise Rejected(f"the JPEG has more than {MAX_SEGMENTS} segments")


def _marker(data: memoryview, position: int) -> tuple[int, int]:
    """The marker at `position` and the place behind it; a marker may be filled up with any number of 0xFF."""
    if position + 2 <= len(data) and data[position] == 0xFF and (marker := data[position + 1]) != 0xFF:  # noqa: PLR2004
        return marker, position + 2  # as nearly all are
    if position >= len(data):
        truncated("jpeg", "it has no end of image (EOI)")
    fill = _FILL.match(data, position)
    if fill is None:
        damaged("jpeg", f"no marker at byte {position}")
    if fill.end() >= len(data):
        truncated("jpeg", "it has no end of image (EOI)")
    return data[fill.end()], fill.end() + 1


def _end_of_segment(data: memoryview, position: int) -> int:
    """Where the segment ends whose length is stated at `position`."""
    if position + 2 > len(data):
        truncated("jpeg", "it ends inside a segment")
    length = data[position] << 8 | data[position + 1]
    if length < 2:  # noqa: PLR2004 - the length counts its own two bytes
        damaged("jpeg", f"a segment of length {length} at byte {position}")
    if position + length > len(data):
        truncated("jpeg", "it ends inside a segment")
    return position + length


def _skip_scan(data: memoryview, position: int) -> int:
    end = _END_OF_SCAN.search(data, position)
    if end is None:
        truncated("jpeg", "it has no end of image (EOI)")
    return end.start()


def bytes_before_end(data: memoryview, count: int) -> bytes:
    """The last `count` bytes before the end of image of a JPEG.

    Raises:
        Rejected: truncated or damaged.
    """
    position = 2
    while True:
        marker, position = _marker(data, position)
        if marker == _EOI:
            return bytes(data[max(0, position - 2 - count) : position - 2])
        if marker not in _RESTARTS and marker != _TEM:
            end = _end_of_segment(data, position)
            position = _skip_scan(data, end) if marker == _SOS else end


def _segment(found: _Found, marker: int, body: memoryview, limits: ImageLimits) -> None:
    if marker in _DECODED_FRAMES:
        found.sequential = marker != _PROGRESSIVE
        _frame(found, body, limits)
    elif marker in _OTHER_FRAMES:
        raise Rejected("the JPEG is lossless, hierarchical or arithmetic coded; allowed: baseline and progressive")
    elif marker == _SOS:
        _scan(found, body, limits)
    elif marker == _APP1 and found.orientation is None and bytes(body[: len(_EXIF)]) == _EXIF:
        found.orientation = orientation_of(body[len(_EXIF) :])
    elif marker == _APP14 and bytes(body[:5]) == b"Adobe":
        found.adobe = True


def _frame(found: _Found, body: memoryview, limits: ImageLimits) -> None:
    if found.components:
        damaged("jpeg", "it has two frames")
    precision, height_px, width_px, components = take("jpeg", ">BHHB", body, 0, "the frame header")
    if precision != 8:  # noqa: PLR2004
        raise Rejected(f"the JPEG has {precision} bits per sample; allowed: 8")
    check_pixels(width_px, height_px, limits)
    if components not in {1, 3, 4}:
        raise Rejected(f"the JPEG has {components} components; allowed: 1 (gray), 3 (colour), 4 (CMYK)")
    identifiers = frozenset(take("jpeg", ">" + "Bxx" * components, body, 6, "the frame header"))
    if len(identifiers) != components:
        damaged("jpeg", "two components have one name")
    found.width_px, found.height_px, found.components = width_px, height_px, identifiers
    if not found.sequential:
        found.missing_bits = {name: bytearray([_NOT_CODED]) * _COEFFICIENTS for name in identifiers}


def _scan(found: _Found, body: memoryview, limits: ImageLimits) -> None:
    if not found.components:
        damaged("jpeg", "it has a scan before its frame")
    found.scans += 1
    if found.scans > limits.max_scans:
        raise Rejected(f"the JPEG has more than {limits.max_scans} scans, the limit")
    (count,) = take("jpeg", ">B", body, 0, "a scan header")
    names = take("jpeg", ">" + "Bx" * count, body, 1, "a scan header")
    found.scanned |= set(names)
    if not found.sequential:
        _cover(found, names, take("jpeg", ">BBB", body, 1 + 2 * count, "a scan header"))


def _cover(found: _Found, names: tuple[int, ...], parameters: tuple[int, ...]) -> None:
    """Note what a scan of a progressive JPEG carries: coefficients `first` to `last`, from bit `high` down to `low`."""
    first, last, precision = parameters
    high, low = precision >> 4, precision & 0xF
    if not first <= last < _COEFFICIENTS:
        damaged("jpeg", f"a scan of the coefficients {first} to {last}")
    for name in names:
        missing = found.missing_bits.get(name)
        if missing is None:
            damaged("jpeg", f"a scan of component {name}, which the frame does not have")
        band = missing[first : last + 1]
        missing[first : last + 1] = bytes(bits if high and bits != high else low for bits in band)


def _finish(found: _Found) -> ImageHeader:
    if not found.components:
        damaged("jpeg", "it has no frame")
    # A component without a scan would be filled with grey.
    if not found.components <= found.scanned:
        truncated("jpeg", "it ends before all its components were coded")
    # The same for coefficients: it would be a blurred picture.
    if any(map(any, found.missing_bits.values())):
        truncated("jpeg", f"its {found.scans} scans do not carry all coefficients to their last bit")
    if len(found.components) == 4 and not found.adobe:  # noqa: PLR2004
        raise Rejected("the JPEG is CMYK and does not say how (no Adobe marker): its colours are unknown")
    return ImageHeader(
        format="jpeg",
        width_px=found.width_px,
        height_px=found.height_px,
        scans=found.scans,
        orientation=found.orientation or UPRIGHT,
    )
