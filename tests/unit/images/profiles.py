"""ICC profiles, made from their numbers: none is copied."""

import struct
from functools import cache

import numpy as np
from PIL import ImageCms

_D50 = np.array([0.9642, 1, 0.8249])
_D65 = (0.3127, 0.3290)
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


@cache
def wide() -> bytes:
    """Display P3's primaries, with a plain gamma."""
    return rgb([(0.680, 0.320), (0.265, 0.690), (0.150, 0.060)], 2.2)


@cache
def adobe() -> bytes:
    return rgb([(0.64, 0.33), (0.21, 0.71), (0.15, 0.06)], 2.19921875)


@cache
def srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def rgb(primaries: list[tuple[float, float]], gamma: float) -> bytes:
    matrix = np.stack([_xyz(*each) for each in primaries], 1)
    matrix = matrix * np.linalg.solve(matrix, _xyz(*_D65))
    adapted = np.diag((_BRADFORD @ _D50) / (_BRADFORD @ _xyz(*_D65)))
    matrix = np.linalg.inv(_BRADFORD) @ adapted @ _BRADFORD @ matrix
    colours = [(name, _xyz_tag(matrix[:, n])) for n, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))]
    return _profile(b"RGB ", b"XYZ ", [*colours, *((name, _curve(gamma)) for name in (b"rTRC", b"gTRC", b"bTRC"))])


def gray(gamma: float) -> bytes:
    return _profile(b"GRAY", b"XYZ ", [(b"kTRC", _curve(gamma))])


@cache
def press() -> bytes:
    """CMYK: Lab at the sixteen corners of full inks, and between them in proportion; like no press on earth."""
    grid = np.stack(np.meshgrid(*[[0, 1]] * 4, indexing="ij"), -1).reshape(-1, 4)
    paper, inks = np.array([95.0, 0, -2]), np.array([[-35, -35, -45], [-45, 70, 0], [-8, -5, 85], [-70, 0, 2]])
    lab = paper + grid @ inks
    coded = np.clip([lab[:, 0] * 65280 / 100, (lab[:, 1] + 128) * 256, (lab[:, 2] + 128) * 256], 0, 65535).T
    lines = struct.pack(">2H", 0, 65535)
    lut = b"mft2\0\0\0\0" + bytes([4, 3, 2, 0]) + struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    lut += struct.pack(">2H", 2, 2) + lines * 4 + coded.astype(">u2").tobytes() + lines * 3
    return _profile(b"CMYK", b"Lab ", [(name, lut) for name in (b"A2B0", b"A2B1", b"A2B2")], kind=b"prtr")


def _profile(space: bytes, pcs: bytes, tags: list[tuple[bytes, bytes]], kind: bytes = b"mntr") -> bytes:
    text = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"made\0" + bytes(78)
    tags = [(b"desc", text), (b"cprt", b"text\0\0\0\0CC0\0"), (b"wtpt", _xyz_tag(_D50)), *tags]
    start = 132 + 12 * len(tags)
    table = body = b""
    for name, value in tags:
        table += name + struct.pack(">II", start + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    head = struct.pack(
        ">I4sI4s4s4s6H4s28x", start + len(body), b"", 0x02100000, kind, space, pcs, 2026, 1, 1, 0, 0, 0, b"acsp"
    )
    head += b"".join(map(_fixed, _D50))
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def _xyz(x: float, y: float) -> np.ndarray:
    return np.array([x / y, 1, (1 - x - y) / y])


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def _xyz_tag(values: np.ndarray) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(map(_fixed, values))


def _curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, int(gamma * 256)) + b"\0\0"
