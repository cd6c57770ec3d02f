"""What outputs keep of the metadata of a source: chosen once, written anew, never copied as it is.

EXIF is read and written by `PIL.Image.Exif`, which decodes no pixel. Thumbnails, makers' notes (they break when they
move) and all that describes the pixels of the source are left out; the orientation is upright, as outputs are.
"""

import base64
import json
import struct
import warnings
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Final, Literal

from PIL import Image as Pillow
from PIL import TiffImagePlugin

from muniflow.images.fields import UPRIGHT, ImageHeader
from muniflow.images.gpano import Pano, packet_of, read_pano
from muniflow.images.kept_names import exif_names
from muniflow.images.metadata_blocks import Density, blocks_of
from muniflow.model.frame import Frame
from muniflow.model.operation import Size
from muniflow.model.rendering import Color

MAX_EXIF_BYTES = 65_000
"""A segment of a JPEG takes no more; where EXIF is longer, only what `gps` keeps stays."""
_ORIENTATION, _ACROSS, _DOWN, _UNIT, _EXIF, _PLACE = 0x0112, 0x011A, 0x011B, 0x0128, 0x8769, 0x8825
_DATE, _SPACE, _SRGB = 0x0132, 0xA001, 1
_MAIN: Final = frozenset({
    0x010E, 0x010F, 0x0110, 0x0131, _DATE, 0x013B, 0x013C, 0x4746, 0x4749, 0x8298,
    0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F,
})  # fmt: skip
"""Title, maker, model, program, date, artist, computer, rating, copyright, and what Windows adds."""
_TIMES: Final = frozenset({0x9000, 0x9003, 0x9004, 0x9010, 0x9011, 0x9012, 0x9290, 0x9291, 0x9292})
"""Version, times, their offsets from UTC and fractions of seconds."""
_LEFT_OUT: Final = frozenset({0x927C, 0xA002, 0xA003, 0xA005})
"""Of the camera's part: the maker's note, the size of the source, a part for printers."""
_BROKEN = (SyntaxError, ValueError, TypeError, KeyError, IndexError, AttributeError, OSError, OverflowError,
           ZeroDivisionError, RuntimeError, struct.error)  # fmt: skip
"""What Pillow raises on nonsense: a broken block is no damage of the picture."""
_PER_INCH: Final = {2: 1.0, 3: 2.54}
"""EXIF's units."""

Kept = Literal["keep", "gps"]


@dataclass(frozen=True)
class Metadata:
    """What the outputs of one image keep."""

    size: Size
    """Of the source, upright."""
    exif: bytes | None = None
    """A TIFF structure."""
    density: Density | None = None
    pano: Pano | None = None

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What is kept, for the report."""
        others = {"density": self.density, "panorama": self.pano}
        exif = () if self.exif is None else exif_names(self.exif)
        return (*exif, *(name for name, value in others.items() if value is not None))

    def xmp(self, frame: Frame | None, size: Size) -> bytes | None:
        """The packet of an output of `size` that lies at `frame`; none where that is not known."""
        return packet_of(self.pano, self.size, frame, size) if self.pano is not None and frame is not None else None

    def to_bytes(self) -> bytes:
        """As it lies in the work store."""
        coded = None if self.exif is None else base64.b64encode(self.exif).decode()
        return json.dumps({**asdict(self), "exif": coded}).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Metadata":
        """What `to_bytes` wrote."""
        stored = json.loads(data)
        pano = stored["pano"]
        return cls(
            Size(*stored["size"]),
            None if stored["exif"] is None else base64.b64decode(stored["exif"]),
            None if stored["density"] is None else (stored["density"][0], stored["density"][1]),
            None if pano is None else Pano(**{**pano, "kept": tuple((name, value) for name, value in pano["kept"])}),
        )


def metadata_of(data: memoryview, header: ImageHeader, choice: Kept, color: Color) -> Metadata | None:
    """What a source says of itself, as far as it is kept; `None` where that is nothing."""
    blocks = blocks_of(data, header)
    exif, density = None, blocks.density
    if blocks.exif is not None:
        exif, stated = _exif(blocks.exif, choice, color)
        density = stated or density
    pano = None if blocks.xmp is None else read_pano(blocks.xmp, header.size)
    if exif is None and density is None and pano is None:
        return None
    return Metadata(header.size, exif, density, pano)


def _exif(block: bytes, choice: Kept, color: Color) -> tuple[bytes | None, Density | None]:
    """The block of outputs, and the density that is in it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = Pillow.Exif()
        try:
            source.load(block)
            main = dict(source)
        except _BROKEN:
            return None, None
        parts = {tag: _part(lambda tag=tag: source.get_ifd(tag)) for tag in (_EXIF, _PLACE)}  # type: ignore[misc]
        made = _written(main, parts, choice, color)
        if made is not None and len(made) > MAX_EXIF_BYTES:
            made = _written(main, parts, "gps", color)
        return (made if made is not None and len(made) <= MAX_EXIF_BYTES else None), _density(main)


def _part(read: Callable[[], dict[int, Any]]) -> dict[int, Any]:
    try:
        return dict(read())
    except _BROKEN:
        return {}


def _written(main: dict[int, Any], parts: dict[int, dict[int, Any]], choice: Kept, color: Color) -> bytes | None:
    kept = Pillow.Exif()
    names = _MAIN if choice == "keep" else {_DATE}
    for tag, value in _sound(main, names | {_ACROSS, _DOWN, _UNIT}).items():
        kept[tag] = value
    camera = _sound(parts[_EXIF], _TIMES if choice == "gps" else parts[_EXIF].keys() - _LEFT_OUT)
    if _SPACE in camera and color == "srgb":
        camera[_SPACE] = _SRGB
    place = _sound(parts[_PLACE], parts[_PLACE].keys())
    if not kept and not camera.keys() - {0x9000} and not place:
        return None
    kept[_ORIENTATION] = UPRIGHT
    kept.update({tag: part for tag, part in ((_EXIF, camera), (_PLACE, place)) if part})
    try:
        return kept.tobytes().removeprefix(b"Exif\0\0")
    except _BROKEN:
        return None


def _sound(values: dict[int, Any], wanted: Iterable[int]) -> dict[int, Any]:
    """Those of the tags that can be written again."""
    found = {}
    for tag in sorted(set(wanted) & values.keys()):
        alone = TiffImagePlugin.ImageFileDirectory_v2()
        try:
            alone[tag] = values[tag]
            alone.tobytes()
        except _BROKEN:
            continue
        found[tag] = values[tag]
    return found


def _density(main: dict[int, Any]) -> Density | None:
    try:
        per_inch = _PER_INCH[int(main.get(_UNIT, 2))]
        across, down = float(main[_ACROSS]) * per_inch, float(main[_DOWN]) * per_inch
    except _BROKEN:
        return None
    return (across, down) if 0 < across < 1 << 16 and 0 < down < 1 << 16 else None
