"""Colours by numbers: those of ITU-T H.273 (`nclx` of HEIC and AVIF, `cICP` of PNG), and PNG's `gAMA` and `cHRM`."""

import struct
from typing import Final

from muniflow.images.fields import Space

SRGB_CURVE: Final = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_D65: Final = (0.3127, 0.3290)
_SRGB: Final = (*_D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
_PRIMARIES: Final = {
    1: _SRGB,
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
"""By H.273: white, red, green and blue."""
_NAMES: Final = {1: "sRGB", 9: "BT.2020", 11: "DCI-P3", 12: "Display P3"}
_CURVES: Final[dict[int, tuple[float, ...]]] = {
    **dict.fromkeys((1, 6, 13, 14, 15), SRGB_CURVE), 4: (2.2,), 5: (2.8,), 8: (1.0,),
}  # fmt: skip
"""Cameras' curves (1, 6, 14, 15) count as that of sRGB, as in browsers. PQ and HLG are not followed: no 8 bits show
them."""
SRGB: Final = Space(_SRGB, SRGB_CURVE, _NAMES[1])
_USUAL_GAMMA: Final = 1 / 2.2
_NEAR, _NEAR_XY = 0.02, 0.002
"""How far from sRGB's a gamma and a primary are taken for it: files have them rounded in many ways."""
_SMALLEST, _LARGEST = 0.1, 5.0
"""A gamma beyond is nonsense."""


def space_of_numbers(primaries: int, curve: int) -> Space | None:
    """The colours that H.273 numbers name; `None` for those that are not followed."""
    if primaries not in _PRIMARIES or curve not in _CURVES:
        return None
    return Space(_PRIMARIES[primaries], _CURVES[curve], _NAMES[primaries])


def space_of_cicp(content: memoryview) -> Space | None:
    """What PNG's `cICP` names: of whole RGB only."""
    primaries, curve, *rest = bytes(content).ljust(4, b"\0")[:4]
    return space_of_numbers(primaries, curve) if rest == [0, 1] else None


def space_of_png(gamma: memoryview | None, corners: memoryview | None) -> Space | None:
    """What PNG's `gAMA` and `cHRM` say; `None` where that is nothing, nonsense or sRGB."""
    curve: tuple[float, ...] = SRGB_CURVE
    primaries = _SRGB
    if gamma is not None and len(gamma) == 4:  # noqa: PLR2004
        stated = struct.unpack(">I", gamma)[0] / 100_000
        if stated and _SMALLEST < 1 / stated < _LARGEST and abs(stated - _USUAL_GAMMA) > _NEAR:
            curve = (1 / stated,)
    if corners is not None and len(corners) == 32:  # noqa: PLR2004
        values = tuple(value / 100_000 for value in struct.unpack(">8I", corners))
        far = any(abs(one - other) > _NEAR_XY for one, other in zip(values, _SRGB, strict=True))
        if far and all(0 < value < 1 for value in values):
            primaries = values
    return None if (primaries, curve) == (_SRGB, SRGB_CURVE) else Space(primaries, curve)
