"""Pictures to measure with, made from freely licensed photographs and kept in a temporary folder.

Larger pictures are mosaics of crops at the photographs' own resolution, never enlargements: a smooth enlargement
decodes and encodes much faster than a photograph of that size. Each picture differs from the others in its crops,
flips and brightness, so that no cache of content can help anyone.
"""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from muniflow.images.opencv import cv2

CELL_PX = 512
QUALITY = 90
EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp"}
EXAMPLES = Path(__file__).parent.parent / "examples"


@dataclass(frozen=True)
class SizeClass:
    """A size of picture, and how many make a run of ten seconds and more on two cores."""

    name: str
    width_px: int
    height_px: int
    pictures: int
    """That differ."""
    images: int
    """Of a run: so many that its beginning and its end, where a core may have nothing to do, weigh little."""


SIZES = {
    size.name: size
    for size in (
        SizeClass("512", 512, 512, 4000, 8000),
        SizeClass("1024", 1024, 1024, 2000, 3000),
        SizeClass("2048", 2048, 2048, 800, 1200),
        SizeClass("8000x4000", 8000, 4000, 48, 96),
        SizeClass("16384x8192", 16384, 8192, 4, 4),
    )
}


@dataclass(frozen=True)
class Corpus:
    """A folder of JPEG files of one size."""

    root: Path
    """What a source store is confined to."""
    prefix: str
    """The folder below `root`."""
    size: SizeClass
    count: int

    @property
    def paths(self) -> list[str]:
        """Every file, in order."""
        return [str(self.root / self.prefix / f"{number:06}.jpg") for number in range(self.count)]


def cache_folder() -> Path:
    """Where everything that the benchmarks write goes; `TMPDIR` moves it."""
    folder = Path(tempfile.gettempdir()) / "muniflow-benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def photographs(folder: Path = EXAMPLES) -> list[NDArray[np.uint8]]:
    """All photographs below `folder` that are at least one cell large, uint8 BGR."""
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS):
        image: Any = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is not None and min(image.shape[:2]) >= CELL_PX // 2:
            found.append(image)
    if not found:
        raise SystemExit(f"no photographs of at least {CELL_PX // 2} pixels below {folder}; give --photos FOLDER")
    return found


def picture(photos: Sequence[NDArray[np.uint8]], width_px: int, height_px: int, seed: int) -> NDArray[np.uint8]:
    """A mosaic of photographs of exactly this size; the same for the same seed."""
    random = np.random.default_rng(seed)
    image = np.empty((height_px, width_px, 3), np.uint8)
    for top in range(0, height_px, CELL_PX):
        for left in range(0, width_px, CELL_PX):
            target = image[top : top + CELL_PX, left : left + CELL_PX]
            target[:] = _cell(photos, random)[: target.shape[0], : target.shape[1]]
    return image


def _cell(photos: Sequence[NDArray[np.uint8]], random: np.random.Generator) -> NDArray[np.uint8]:
    photo = photos[int(random.integers(len(photos)))]
    if min(photo.shape[:2]) < CELL_PX:
        missing = [max(0, CELL_PX - side) for side in photo.shape[:2]]
        photo = np.pad(photo, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="reflect")
    top, left = (int(random.integers(side - CELL_PX + 1)) for side in photo.shape[:2])
    cell = photo[top : top + CELL_PX, left : left + CELL_PX]
    if random.random() < 0.5:  # noqa: PLR2004 - a coin
        cell = cell[:, ::-1]
    gain = float(random.uniform(0.85, 1.15))
    return np.asarray(cv2.convertScaleAbs(np.ascontiguousarray(cell), alpha=gain), np.uint8)


def corpus(size: SizeClass, count: int | None = None, photos: Path = EXAMPLES) -> Corpus:
    """`count` pictures of `size`, made now or taken from an earlier run.

    More than the different ones of its size are the same ones again, under other names.
    """
    count = size.images if count is None else count
    root = cache_folder() / "corpus"
    pool, prefix = root / f"{size.name}-pool", f"{size.name}-{count}"
    pool.mkdir(parents=True, exist_ok=True)
    folder = root / prefix
    if not folder.is_dir():
        made = min(count, size.pictures)
        _fill(pool, size, made, photos)
        building = root / f"{prefix}.{os.getpid()}"
        building.mkdir()
        for number in range(count):
            os.link(pool / f"{number % made:06}.jpg", building / f"{number:06}.jpg")
        building.rename(folder)
    return Corpus(root, prefix, size, count)


def _fill(pool: Path, size: SizeClass, count: int, photos: Path) -> None:
    missing = [number for number in range(count) if not (pool / f"{number:06}.jpg").exists()]
    if not missing:
        return
    loaded = photographs(photos)
    for number in missing:
        image = picture(loaded, size.width_px, size.height_px, seed=size.width_px * 100_000 + number)
        done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        if not done:
            raise SystemExit("OpenCV does not encode JPEG here")
        temporary = pool / f".{number:06}.{os.getpid()}"
        temporary.write_bytes(data.tobytes())
        temporary.rename(pool / f"{number:06}.jpg")
