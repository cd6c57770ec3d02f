"""Small sources for large numbers of images."""

from pathlib import Path

from tests.unit.images import craft

DISTINCT = 20
"""Pictures that differ; the names of all images differ, so a mix-up shows."""


def write_pictures(folder: Path, count: int, seed: int = 1) -> list[str]:
    """Write `count` small JPEG and PNG files; returns their keys."""
    encoded = []
    for number in range(min(count, DISTINCT)):
        picture = craft.photo(48 + 3 * number, 40 + 2 * number, seed=seed * DISTINCT + number)
        encoded.append((".png", craft.png(picture)) if number % 4 == 3 else (".jpg", craft.jpeg(picture)))
    names = []
    for number in range(count):
        extension, data = encoded[number % DISTINCT]
        names.append(f"n{number // 100}/{number:05}{extension}")
        path = folder / names[-1]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return names
