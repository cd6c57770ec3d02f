"""What a block of EXIF that outputs carry says, in words for the report."""

from collections.abc import Iterator, Mapping
from typing import Final

from PIL import Image as Pillow

_CAMERA_PART, _PLACE_PART = 0x8769, 0x8825
_DATE, _LATITUDE, _LONGITUDE, _DIRECTION = 0x0132, 2, 4, 17
_MAIN: Final[Mapping[str, frozenset[int]]] = {
    "camera": frozenset({0x010F, 0x0110}),
    "author": frozenset({0x013B, 0x8298}),
    "title": frozenset({0x010E, 0x9C9B, 0x9C9F}),
}
_TIMES: Final = frozenset({0x9003, 0x9004})
_EXPOSURE: Final = frozenset({0x829A, 0x829D, 0x8827, 0x9201, 0x9202, 0x920A})


def exif_names(block: bytes) -> tuple[str, ...]:
    """The names of what is in a block that `muniflow.images.metadata` wrote, in one order."""
    exif = Pillow.Exif()
    exif.load(block)
    return tuple(_names(set(exif), set(exif.get_ifd(_CAMERA_PART)), set(exif.get_ifd(_PLACE_PART))))


def _names(main: set[int], camera: set[int], place: set[int]) -> Iterator[str]:
    if {_LATITUDE, _LONGITUDE} <= place:
        yield "place"
    if _DIRECTION in place:
        yield "heading"
    if _TIMES & camera or _DATE in main:
        yield "time"
    yield from (name for name, tags in _MAIN.items() if tags & main)
    if _EXPOSURE & camera:
        yield "exposure"
