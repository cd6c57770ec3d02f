"""The header of a JPEG: jumps from segment to segment, and over scans at the speed of a C search. Needs no numpy."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from muniflow.errors import Rejected
from muniflow.images.exif import EXIF_PREFIX, XMP_PREFIX, orientation_in_xmp, orientation_of, upright_unless
from muniflow.images.fields import (
    Colours,
    Damaged,
    ImageHeader,
    Mends,
    check_pixels,
    damaged,
    take,
    truncated,
    unsupported,
)
from muniflow.images.jpeg_trailer import without_trailer
from muniflow.images.limits import ImageLimits, setting
from muniflow.images.profile import JPEG_HEAD_BYTES, JPEG_PREFIX, jpeg_places

MAX_SEGMENTS = 4096
"""Segments of one file. Photographs have dozens, or a few hundred with a large colour profile."""

_SOI, _EOI, _SOS, _APP0, _APP1, _APP2, _APP14, _TEM = 0xD8, 0xD9, 0xDA, 0xE0, 0xE1, 0xE2, 0xEE, 0x01
_RESTARTS = range(0xD0, 0xD8)
_PROGRESSIVE = 0xC2
_DECODED_FRAMES = frozenset({0xC0, 0xC1, _PROGRESSIVE})
"""Baseline, extended and progressive, all with Huffman coding."""
_OTHER_FRAMES = frozenset({0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
"""Lossless, hierarchical and arithmetic coding: not in photographs, and not in every decoder."""

_TELLING = _DECODED_FRAMES | _OTHER_FRAMES | {_SOS, _APP0, _APP1, _APP2, _APP14}
"""Markers of segments that are looked into."""

_COLOURS: Final[dict[int, Colours]] = {1: "gray", 3: "rgb", 4: "cmyk"}
"""By the number of components."""
_COEFFICIENTS = 64
_NOT_CODED = 0xFF
_END = b"\xff\xd9"
_FILL = re.compile(rb"\xff+")
# In a scan, 0xFF is followed by 0 (it was data) or by a restart marker; anything else ends the scan.
_END_OF_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_JFIF, _JFIF_MAJOR, _JFIF_BYTES = b"JFIF\0", 5, 14
_ADOBE, _ADOBE_TRANSFORM, _ADOBE_BYTES = b"Adobe", 11, 12
_TRANSFORMS: Final = {3: (1, frozenset({0, 1})), 4: (2, frozenset({0, 2}))}
"""Of three and four components: what libjpeg takes an unknown transform for (YCbCr, YCCK), and those that it knows."""
_WHOLE_BLOCKS = (0, _COEFFICIENTS - 1, 0)
"""What a scan header states where each scan carries its components completely; decoders ignore all else there."""


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
    """Whether every scan carries its components completely."""
    scans: int = 0
    scan_start: int = 0
    """Where the data of the last scan begin."""
    exif: memoryview | None = None
    xmp: memoryview | None = None
    profile: list[tuple[int, int, int, int]] = field(default_factory=list)
    """Parts of an ICC profile: number, count, from and to."""
    transform: tuple[int, int] | None = None
    """Adobe's colour transform: place and value."""
    mends: list[tuple[int, int]] = field(default_factory=list)
    end: int | None = None
    """Where its end of image belongs, when that is missing."""

    @property
    def all_in_one_scan(self) -> bool:
        """Whether the only scan so far holds all pixels; the decoder reads it whole and reports what is missing."""
        return self.sequential and self.scans == 1 and self.scanned == self.components

    @property
    def complete(self) -> bool:
        """Whether each component has a scan, and of a progressive JPEG each coefficient to its last bit."""
        covered = bool(self.components) and self.components <= self.scanned
        return covered and not any(map(any, self.missing_bits.values()))


def read_jpeg(data: memoryview, limits: ImageLimits, *, start_only: bool = False) -> ImageHeader:
    """Read a JPEG up to its end of image; what follows it (other pictures of a set) is ignored.

    With `start_only` up to its frame header, which states the size.

    Raises:
        Rejected: beyond a limit, truncated, damaged, or coded in a way that is not allowed.
    """
    found = _Found()
    data = without_trailer(data)
    try:
        for marker, start, end in segments(data):
            if marker in _TELLING:
                _segment(found, marker, data[start:end], start, limits)
            if start_only and found.components:
                return _header(found)
            if marker == _SOS and found.all_in_one_scan and data[-2:] == _END:
                break
    except Damaged:
        # Many phones and cameras leave out the end of image. The decoder shall say whether all pixels came before.
        if start_only or not found.complete:
            raise
        found.end = _end_of_scan(data, found.scan_start)
    return _finish(found)


def segments(data: memoryview) -> Iterator[tuple[int, int, int]]:
    """Marker of each segment, and where its content starts and ends; the last one is the end of image.

    A scan is skipped when the segment behind it is asked for.
    """
    position = 2
    for _ in range(MAX_SEGMENTS):
        marker, position = _marker(data, position)
        if marker == _EOI:
            yield marker, position, position
            return
        if marker in _RESTARTS or marker == _TEM:
            continue
        if marker in {0, _SOI}:
            damaged("jpeg", f"marker 0x{marker:02x} at byte {position - 1}")
        end = _end_of_segment(data, position)
        yield marker, position + 2, end
        position = _skip_scan(data, end) if marker == _SOS else end
    raise Rejected(f"the JPEG has more than {MAX_SEGMENTS} segments", reason_code="image_too_large")


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
    """The end of the segment that states its length at `position`."""
    if position + 2 > len(data):
        truncated("jpeg", "it ends inside a segment")
    length = data[position] << 8 | data[position + 1]
    if length < 2:  # noqa: PLR2004 - the length counts its own two bytes
        damaged("jpeg", f"a segment of length {length} at byte {position}")
    if position + length > len(data):
        truncated("jpeg", "it ends inside a segment")
    return position + length


def _end_of_scan(data: memoryview, position: int) -> int:
    match = _END_OF_SCAN.search(data, position)
    return match.start() if match else len(data)


def _skip_scan(data: memoryview, position: int) -> int:
    end = _END_OF_SCAN.search(data, position)
    if end is None:
        truncated("jpeg", "it has no end of image (EOI)")
    return end.start()


def place_before_end(data: memoryview, count: int) -> tuple[int, int]:
    """From and to where the last `count` bytes before the end of image of a JPEG are.

    Raises:
        Rejected: truncated or damaged.
    """
    *_, (_, end, _) = segments(data)
    return max(0, end - 2 - count), end - 2


def _segment(found: _Found, marker: int, body: memoryview, start: int, limits: ImageLimits) -> None:
    if marker in _DECODED_FRAMES:
        _frame(found, body, limits, sequential=marker != _PROGRESSIVE)
    elif marker in _OTHER_FRAMES:
        if found.components:
            damaged("jpeg", "it has two frames")
        unsupported("the JPEG is lossless, hierarchical or arithmetic coded; allowed: baseline and progressive")
    elif marker == _SOS:
        _scan(found, body, start, limits)
    else:
        _application(found, marker, body, start)


def _application(found: _Found, marker: int, body: memoryview, start: int) -> None:
    if marker == _APP0 and len(body) >= _JFIF_BYTES and bytes(body[: len(_JFIF)]) == _JFIF:
        if body[_JFIF_MAJOR] != 1:  # nothing but its version: 2.01 never existed, and cameras write it
            found.mends.append((start + _JFIF_MAJOR, 1))
    elif marker == _APP1 and found.exif is None and bytes(body[: len(EXIF_PREFIX)]) == EXIF_PREFIX:
        found.exif = body
    elif marker == _APP1 and bytes(body[: len(XMP_PREFIX)]) == XMP_PREFIX:
        found.xmp = body
    elif marker == _APP2 and bytes(body[: len(JPEG_PREFIX)]) == JPEG_PREFIX and len(body) >= JPEG_HEAD_BYTES:
        number, count = body[len(JPEG_PREFIX)], body[len(JPEG_PREFIX) + 1]
        found.profile.append((number, count, start + JPEG_HEAD_BYTES, start + len(body)))
    elif marker == _APP14 and len(body) >= _ADOBE_BYTES and bytes(body[: len(_ADOBE)]) == _ADOBE:
        found.transform = start + _ADOBE_TRANSFORM, body[_ADOBE_TRANSFORM]


def _frame(found: _Found, body: memoryview, limits: ImageLimits, *, sequential: bool) -> None:
    if found.components:
        damaged("jpeg", "it has two frames")
    precision, height_px, width_px, components = take("jpeg", ">BHHB", body, 0, "the frame header")
    if precision != 8:  # noqa: PLR2004
        unsupported(f"the JPEG has {precision} bits per sample; allowed: 8")
    check_pixels(width_px, height_px, limits)
    if components not in _COLOURS:
        unsupported(f"the JPEG has {components} components; allowed: 1 (gray), 3 (colour), 4 (CMYK)")
    identifiers = frozenset(take("jpeg", ">" + "Bxx" * components, body, 6, "the frame header"))
    if len(identifiers) != components:
        damaged("jpeg", "two components have one name")
    found.width_px, found.height_px, found.components = width_px, height_px, identifiers
    found.sequential = sequential
    if not found.sequential:
        found.missing_bits = {name: bytearray([_NOT_CODED]) * _COEFFICIENTS for name in identifiers}


def _scan(found: _Found, body: memoryview, start: int, limits: ImageLimits) -> None:
    if not found.components:
        damaged("jpeg", "it has a scan before its frame")
    found.scans += 1
    if found.scans > limits.max_scans:
        text = f"the JPEG has more than {limits.max_scans} scans, the limit {setting('max_scans')}"
        raise Rejected(text, reason_code="image_too_large")
    (count,) = take("jpeg", ">B", body, 0, "a scan header")
    values = take("jpeg", ">" + "Bx" * count + "BBB", body, 1, "a scan header")
    names, parameters = values[:count], values[count:]
    if not found.sequential:
        _cover(found, names, parameters)
    elif parameters != _WHOLE_BLOCKS and found.scanned.isdisjoint(names):
        place = start + 1 + 2 * count
        found.mends += [(place + number, value) for number, value in enumerate(_WHOLE_BLOCKS)]
    found.scanned |= set(names)
    found.scan_start = start + len(body)


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
    if len(found.components) == 4 and found.transform is None:  # noqa: PLR2004
        unsupported("the JPEG is CMYK and does not say how (no Adobe marker): its colours are unknown")
    if found.transform is not None and len(found.components) in _TRANSFORMS:
        place, value = found.transform
        taken_for, known = _TRANSFORMS[len(found.components)]
        if value not in known:
            found.mends.append((place, taken_for))
    return _header(found)


def _header(found: _Found) -> ImageHeader:
    orientation = None if found.exif is None else orientation_of(found.exif)
    in_xmp = orientation_in_xmp(found.xmp) if orientation is None and found.xmp is not None else None
    mended = bool(found.mends) or found.end is not None
    return ImageHeader(
        format="jpeg",
        width_px=found.width_px,
        height_px=found.height_px,
        scans=found.scans,
        orientation=upright_unless(orientation, in_xmp),
        mends=Mends(tuple(found.mends), found.end, found.scan_start) if mended else None,
        colours=_COLOURS[len(found.components)],
        profile=jpeg_places(found.profile),
    )
