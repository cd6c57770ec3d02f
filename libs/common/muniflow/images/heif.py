"""The header of a HEIC or AVIF: the boxes of its primary picture. Needs no numpy; decodes nothing.

ISO/IEC 14496-12 (boxes) and 23008-12 (`meta`: which item is shown, its properties, its turns).
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from muniflow.images.fields import (
    UPRIGHT,
    Alpha,
    ImageHeader,
    Space,
    check_pixels,
    damaged,
    take,
    truncated,
    unsupported,
)
from muniflow.images.limits import ImageLimits
from muniflow.images.named_space import SRGB, space_of_numbers
from muniflow.model.source_formats import FORMAT_NAMES

Kind = Literal["heif", "avif"]
MAX_BOXES = 65_536
"""Of one file: a phone's picture has some hundred."""
_SEQUENCES = frozenset({b"avis", b"hevc", b"hevx", b"msf1"})
_LARGE, _TO_THE_END = 1, 0
_PROFILES = frozenset({b"prof", b"rICC"})
_ALPHA_URNS = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0", b"urn:mpeg:hevc:2015:auxid:1\0")
_RANGE, _FULL_RANGE = 6, 0x80
"""Where `nclx` says that black is 0 and white the largest number."""
_MONOCHROME, _HIGH_BITS, _TWELVE_BITS = 0x10, 0x40, 0x20
"""In `av1C`."""
_TURNS: dict[tuple[int, int | None], int] = {
    (0, None): 1, (0, 0): 4, (0, 1): 2, (1, None): 8, (1, 0): 5, (1, 1): 7,
    (2, None): 3, (2, 0): 2, (2, 1): 4, (3, None): 6, (3, 0): 7, (3, 1): 5,
}  # fmt: skip
"""EXIF orientation by `irot` (quarter turns against the clock, first) and `imir` (0: top and bottom, 1: sides)."""


class Box(NamedTuple):
    """A part of the file."""

    kind: bytes
    start: int
    """Where its content begins."""
    end: int


@dataclass
class _Picture:
    """What the properties of the primary item say; its size is that after all turns and crops so far."""

    width_px: int = 0
    height_px: int = 0
    turns: int = 0
    mirror: int | None = None
    cropped: bool = False
    sizes: list[tuple[int, int]] = field(default_factory=list)
    """Of all items."""
    profile: tuple[int, int] | None = None
    """Where its ICC profile is."""
    space: Space | None = None
    """That of `nclx`, where it is followed and is not sRGB."""
    named: bool = False
    """Whether there is an `nclx`."""
    gray: bool = False
    monochrome: bool = False
    """Whether it is coded so."""
    narrow: bool = False
    """Whether its `nclx` says that 16 is black and 235 is white."""
    bits: int = 8
    alpha: Alpha | None = None


def read_heif(data: memoryview, kind: Kind, limits: ImageLimits, *, start_only: bool = False) -> ImageHeader:
    """Read a HEIC or AVIF, up to the size of its picture with `start_only`.

    Raises:
        Rejected: beyond a limit, truncated, damaged, or a sequence of pictures.
    """
    meta: Box | None = None
    stored = False
    for box in boxes(data, kind, 0, len(data)):
        if box.kind == b"ftyp" and bytes(data[box.start : box.start + 4]) in _SEQUENCES:
            unsupported(f"the {FORMAT_NAMES[kind]} is animated; only still images are decoded")
        if box.kind in {b"mdat", b"meta"} and box.end > len(data) and not (start_only and box.kind == b"mdat" and meta):
            truncated(kind, f"its {box.kind.decode()} ends at {box.end}, and there are {len(data)} bytes")
        if box.kind == b"meta" and meta is None:
            meta = box
        stored |= box.kind == b"mdat"
        if meta is not None and (start_only or stored):
            break
    if meta is None:
        truncated(kind, "it ends before its list of pictures")
    if not stored and not start_only and not _holds_data(data, kind, meta):
        truncated(kind, "it ends before its pixels")
    picture = _primary(data, kind, meta)
    for width_px, height_px in picture.sizes:
        check_pixels(width_px, height_px, limits)
    return _header(kind, picture, limits)


def _header(kind: Kind, picture: _Picture, limits: ImageLimits) -> ImageHeader:
    """The decoder of HEIC turns, crops and makes 8 bits by itself; that of AVIF does none of it."""
    check_pixels(picture.width_px, picture.height_px, limits)
    sides, orientation = (picture.width_px, picture.height_px), UPRIGHT
    if kind == "avif":
        if picture.cropped:
            unsupported("the AVIF is cropped by its header (clap); this is not decoded")
        sides = sides[::-1] if picture.turns & 1 else sides
        orientation = _TURNS[picture.turns, picture.mirror]
    return ImageHeader(
        kind,
        *sides,
        orientation=orientation,
        bits=picture.bits if kind == "avif" else 8,
        colours="gray" if picture.gray else "rgb",
        alpha="straight" if kind == "avif" and picture.alpha else picture.alpha,  # libavif divides by itself
        profile=(picture.profile,) if picture.profile else (),
        space=picture.space,
        narrow=kind == "avif" and picture.monochrome and picture.narrow,
    )


def _holds_data(data: memoryview, kind: Kind, meta: Box) -> bool:
    return any(box.kind == b"idat" for box in boxes(data, kind, meta.start + 4, meta.end))


def boxes(data: memoryview, kind: Kind, start: int, end: int) -> Iterator[Box]:
    """The boxes of a part of the file; the last one may say that it ends behind it."""
    for _ in range(MAX_BOXES):
        if start + 8 > end:
            return
        size, name = struct.unpack_from(">I4s", data, start)
        head = 8
        if size == _LARGE:
            (size,) = take(kind, ">Q", data, start + 8, "the size of a box")
            head = 16
        elif size == _TO_THE_END:
            size = end - start
        if size < head:
            return  # no box: a maker's trailer
        yield Box(name, start + head, start + size)
        start += size
    damaged(kind, f"it has more than {MAX_BOXES} boxes")


def _primary(data: memoryview, kind: Kind, meta: Box) -> _Picture:
    parts = {box.kind: box for box in inner(data, kind, meta, 4)}
    listed = {box.kind: box for box in inner(data, kind, parts[b"iprp"])} if b"iprp" in parts else {}
    if b"pitm" not in parts or b"ipco" not in listed or b"ipma" not in listed:
        damaged(kind, "it does not say which picture is shown")
    place, links = parts[b"pitm"].start, listed[b"ipma"]
    (version,) = take(kind, ">B", data, place, "the number of its picture")
    (item,) = take(kind, ">I" if version else ">H", data, place + 4, "the number of its picture")
    properties = inner(data, kind, listed[b"ipco"])
    picture = _Picture()
    for box in (box for box in properties if box.kind == b"ispe"):
        picture.sizes.append(_size(data, kind, box))
    for box in _of_item(data, kind, links, item, properties):
        _apply(data, kind, box, picture)
    if b"iref" in parts:
        named = list(references(data, kind, parts[b"iref"]))
        picture.alpha = _alpha(data, named, item, lambda one: _of_item(data, kind, links, one, properties))
        first = next((to for name, source, to in named if (name, source) == (b"dimg", item)), None)
        if first is not None and picture.profile is None and not picture.named:
            # A picture of tiles, whose colours may stand with its tiles alone.
            for box in (box for box in _of_item(data, kind, links, first, properties) if box.kind == b"colr"):
                _colours(data, box, picture)
    return picture


def _alpha(
    data: memoryview, references: list[tuple[bytes, int, int]], item: int, properties: Callable[[int], list[Box]]
) -> Alpha | None:
    """Whether another item is the alpha of `item`."""
    for name, source, to in references:
        if (name, to) != (b"auxl", item):
            continue
        if any(box.kind == b"auxC" and _is_alpha(data[box.start + 4 : box.end]) for box in properties(source)):
            return "multiplied" if (b"prem", item, source) in references else "straight"
    return None


def _is_alpha(urn: memoryview) -> bool:
    return any(bytes(urn[: len(each)]) == each for each in _ALPHA_URNS)


def references(data: memoryview, kind: Kind, outer: Box) -> Iterator[tuple[bytes, int, int]]:
    """What refers to what: the kind of a reference, from and to which item."""
    (version,) = take(kind, ">B", data, outer.start, "its references")
    number = "I" if version else "H"
    for box in inner(data, kind, outer, 4):
        source, count = take(kind, f">{number}H", data, box.start, "its references")
        place = box.start + struct.calcsize(f">{number}H")
        for to in take(kind, f">{count}{number}", data, place, "its references"):
            yield box.kind, source, to


def _of_item(data: memoryview, kind: Kind, links: Box, item: int, properties: list[Box]) -> list[Box]:
    """The properties of an item, in order."""
    found = []
    for index in _properties_of(data, kind, links, item):
        if not 1 <= index <= len(properties):
            damaged(kind, f"its picture has property {index} of {len(properties)}")
        found.append(properties[index - 1])
    return found


def inner(data: memoryview, kind: Kind, outer: Box, skip: int = 0) -> list[Box]:
    """The boxes in a box."""
    found = list(boxes(data, kind, outer.start + skip, outer.end))
    if found and found[-1].end > outer.end:
        damaged(kind, "a box in its list of pictures is longer than the box around it")
    return found


def _size(data: memoryview, kind: Kind, box: Box) -> tuple[int, int]:
    width_px, height_px = take(kind, ">II", data, box.start + 4, "the size of a picture")
    return width_px, height_px


def _apply(data: memoryview, kind: Kind, box: Box, picture: _Picture) -> None:
    match box.kind:
        case b"ispe":
            picture.width_px, picture.height_px = _size(data, kind, box)
        case b"irot":
            picture.turns = take(kind, ">B", data, box.start, "its turn")[0] & 3
            if picture.turns & 1:
                picture.width_px, picture.height_px = picture.height_px, picture.width_px
        case b"imir":
            picture.mirror = take(kind, ">B", data, box.start, "its mirror")[0] & 1
        case b"clap":
            width, of_width, height, of_height = take(kind, ">IIII", data, box.start, "its crop")
            if not of_width or not of_height:
                damaged(kind, "its crop has no size")
            picture.width_px, picture.height_px, picture.cropped = width // of_width, height // of_height, True
        case b"colr":
            _colours(data, box, picture)
        case b"pixi":
            picture.gray |= bytes(data[box.start + 4 : box.start + 5]) == b"\1"
        case b"av1C" if box.end - box.start > 2:  # noqa: PLR2004
            coding = data[box.start + 2]
            picture.monochrome = bool(coding & _MONOCHROME)
            picture.gray |= picture.monochrome
            picture.bits = (12 if coding & _TWELVE_BITS else 10) if coding & _HIGH_BITS else 8


def _colours(data: memoryview, box: Box, picture: _Picture) -> None:
    """Both kinds of `colr` may be there; one that is broken counts for none."""
    kind, content = bytes(data[box.start : box.start + 4]), data[box.start + 4 : box.end]
    if kind in _PROFILES and picture.profile is None:
        picture.profile = box.start + 4, box.end
    elif kind == b"nclx" and len(content) >= 4:  # noqa: PLR2004
        space = space_of_numbers(*struct.unpack_from(">HH", content))
        picture.space, picture.named = None if space == SRGB else space, True
        picture.narrow = len(content) > _RANGE and not content[_RANGE] & _FULL_RANGE


def _properties_of(data: memoryview, kind: Kind, links: Box, wanted: int) -> list[int]:
    """The properties of an item, by their places from 1."""
    version, _, _, flags = take(kind, ">4B", data, links.start, "the properties of its pictures")
    wide = flags & 1
    (count,) = take(kind, ">I", data, links.start + 4, "the properties of its pictures")
    place = links.start + 8
    for _ in range(min(count, MAX_BOXES)):
        (item,) = take(kind, ">I" if version else ">H", data, place, "the properties of its pictures")
        place += 4 if version else 2
        (number,) = take(kind, ">B", data, place, "the properties of its pictures")
        values = take(kind, f">{number}{'H' if wide else 'B'}", data, place + 1, "the properties of its pictures")
        if item == wanted:
            return [value & (0x7FFF if wide else 0x7F) for value in values]
        place += 1 + number * (2 if wide else 1)
    return []
