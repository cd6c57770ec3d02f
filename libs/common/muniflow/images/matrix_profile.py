"""ICC profiles of colours that a file names by numbers alone. Made from these; none is copied. Needs no numpy."""

import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from muniflow.images.fields import Space

_D50: Final = (0.9642, 1.0, 0.8249)
_BRADFORD: Final = ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))
_NAMES: Final = (b"rXYZ", b"gXYZ", b"bXYZ")
_MAX_KEPT = 16

Vector = tuple[float, float, float]
Matrix = tuple[Vector, Vector, Vector]
"""Rows."""


@lru_cache(_MAX_KEPT)
def profile_of_space(space: Space, *, gray: bool = False) -> bytes | None:
    """The profile: of screens, RGB or gray, version 4.0; `None` where its numbers are of no colours."""
    tags = {b"desc": _text(space.name), b"cprt": _text("CC0"), b"wtpt": _xyz(*_D50)}
    curve = _curve(space.curve)
    if gray:
        return _file(b"GRAY", {**tags, b"kTRC": curve})
    try:
        adapted, colours = _colours(space)
        chad = b"sf32\0\0\0\0" + _fixed(*(value for row in adapted for value in row))
        primaries = {name: _xyz(*column) for name, column in zip(_NAMES, zip(*colours, strict=True), strict=True)}
    except (ZeroDivisionError, struct.error):
        return None
    return _file(b"RGB ", {**tags, b"chad": chad, **primaries, **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)})


def _colours(space: Space) -> tuple[Matrix, Matrix]:
    """How its white is adapted to D50, and its primaries under that, one a column."""
    white, *corners = (_of_xy(*space.primaries[place : place + 2]) for place in range(0, 8, 2))
    matrix = _transposed((corners[0], corners[1], corners[2]))
    shares = _times(_inverse(matrix), white)
    scaled = _rows(matrix, lambda row, column: matrix[row][column] * shares[column])
    seen, wanted = _times(_BRADFORD, white), _times(_BRADFORD, _D50)
    cones = _rows(_BRADFORD, lambda row, column: _BRADFORD[row][column] * wanted[row] / seen[row])
    adapted = _product(_inverse(_BRADFORD), cones)
    return adapted, _product(adapted, scaled)


def _of_xy(x: float, y: float) -> Vector:
    return x / y, 1.0, (1 - x - y) / y


def _rows(_like: Matrix, value: Callable[[int, int], float]) -> Matrix:
    first, second, third = ((value(row, 0), value(row, 1), value(row, 2)) for row in range(3))
    return first, second, third


def _transposed(matrix: Matrix) -> Matrix:
    return _rows(matrix, lambda row, column: matrix[column][row])


def _times(matrix: Matrix, vector: Vector) -> Vector:
    x, y, z = (sum(one * other for one, other in zip(row, vector, strict=True)) for row in matrix)
    return x, y, z


def _product(one: Matrix, other: Matrix) -> Matrix:
    columns = _transposed(other)
    return _rows(one, lambda row, column: sum(a * b for a, b in zip(one[row], columns[column], strict=True)))


def _inverse(matrix: Matrix) -> Matrix:
    def minor(row: int, column: int) -> float:
        (a, b), (c, d) = ([matrix[r][c] for c in range(3) if c != column] for r in range(3) if r != row)
        return (a * d - b * c) * (-1 if (row + column) % 2 else 1)

    whole = sum(matrix[0][column] * minor(0, column) for column in range(3))
    return _rows(matrix, lambda row, column: minor(column, row) / whole)


def _file(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    start = 132 + 12 * len(tags)
    table = body = b""
    for name, value in tags.items():
        table += name + struct.pack(">II", start + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    size, version, made = start + len(body), 0x04000000, (2026, 1, 1, 0, 0, 0)
    kinds = b"mntr", space, b"XYZ "
    head = struct.pack(">I4sI4s4s4s6H4s28x", size, b"", version, *kinds, *made, b"acsp")
    return (head + _fixed(*_D50)).ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def _curve(values: tuple[float, ...]) -> bytes:
    """One gamma, or the five numbers of a curve that begins straight."""
    return b"para\0\0\0\0" + struct.pack(">HH", 0 if len(values) == 1 else 3, 0) + _fixed(*values)


def _fixed(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def _xyz(*values: float) -> bytes:
    return b"XYZ \0\0\0\0" + _fixed(*values)


def _text(text: str) -> bytes:
    coded = text.encode("utf-16-be")
    return b"mluc\0\0\0\0" + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(coded), 28) + coded
