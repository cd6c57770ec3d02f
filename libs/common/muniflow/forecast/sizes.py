"""Pixel sizes of a batch's images, of all of them or of a random sample."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from math import floor, log
from random import Random
from statistics import fmean
from typing import NamedTuple

from muniflow.forecast.task_class import Reads
from muniflow.model.operation import Size

READ_ALL_IMAGES = 2_000
"""Up to so many images all sizes are read."""
SAMPLE_IMAGES = 1_000
"""Of larger batches. The mean of 1,000 is good to 3% where sizes differ as much as their mean, and to 10% where one
image in a hundred has a third of all pixels."""


class Picture(NamedTuple):
    """What the header of a source says."""

    size: Size
    reads: Reads


class Sampled(NamedTuple):
    """One image of the sample."""

    place: int
    """The image's place in its batch."""
    picture: Picture | None
    """`None`: it could not be read, so it will fail."""


@dataclass(frozen=True)
class SizeSample:
    """The sizes of a batch. Each entry stands for the same number of images, `count / sampled`."""

    count: int
    """Images of the batch."""
    entries: tuple[Sampled, ...]
    """By place."""

    @classmethod
    def of(cls, count: int, places: Iterable[int], pictures: Iterable[Picture | None]) -> "SizeSample":
        """A sample of a batch of `count` images, whatever the order in which headers were read."""
        pairs = zip(places, pictures, strict=True)
        return cls(count, tuple(sorted((Sampled(*pair) for pair in pairs), key=lambda entry: entry.place)))

    def to_json(self) -> str:
        """For a database row: what `from_json` reads. 25 bytes an image."""
        entries = [
            [place] if picture is None else [place, *picture.size, picture.reads] for place, picture in self.entries
        ]
        return json.dumps([self.count, entries], separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> "SizeSample":
        """Back from `to_json`."""
        count, entries = json.loads(text)
        pictures = (Picture(Size(*rest[:2]), rest[2]) if rest else None for _, *rest in entries)
        return cls.of(count, (entry[0] for entry in entries), pictures)

    @property
    def sampled(self) -> int:
        """Headers that were looked at."""
        return len(self.entries)

    @property
    def mean_pixels(self) -> float:
        """Of an image of the batch; 0 where none could be read."""
        pixels = [entry.picture.size.pixels for entry in self.entries if entry.picture]
        return fmean(pixels) if pixels else 0.0

    @property
    def unreadable(self) -> int:
        """Headers that could not be read."""
        return sum(entry.picture is None for entry in self.entries)


@dataclass(frozen=True)
class Choice:
    """The images to look at."""

    count: int
    places: tuple[int, ...]
    keys: tuple[str, ...]
    """Of these places."""


def dice_of(name: str) -> Random:
    """Random numbers from a batch's id or fingerprint: the same name gives the same sample."""
    return Random(name)  # noqa: S311 - a sample, not a secret


def sample_places(count: int, dice: Random) -> Sequence[int]:
    """The places of the images to look at, in order, of a batch of `count` images."""
    return range(count) if count <= READ_ALL_IMAGES else sorted(dice.sample(range(count), SAMPLE_IMAGES))


def choose(keys: Iterable[str], dice: Random) -> Choice:
    """The images to look at of a list that is read once, from its first to its last key, and never kept.

    Li's algorithm L: each image has the same chance, and random numbers are drawn only for those that are kept.
    """
    rest = iter(enumerate(keys))
    kept = list(islice(rest, READ_ALL_IMAGES))
    last = len(kept) - 1
    threshold = 1.0
    while len(kept) == READ_ALL_IMAGES:
        threshold *= _above_zero(dice) ** (1 / READ_ALL_IMAGES)
        skipped = floor(log(_above_zero(dice)) / log(1 - threshold)) if threshold < 1 else 0
        last, found = _advance(rest, skipped, last)
        if found is None:
            break
        kept[dice.randrange(READ_ALL_IMAGES)] = found
    if last >= READ_ALL_IMAGES:
        kept = dice.sample(kept, SAMPLE_IMAGES)
    kept.sort()
    return Choice(last + 1, tuple(place for place, _ in kept), tuple(key for _, key in kept))


def _above_zero(dice: Random) -> float:
    return 1.0 - dice.random()


def _advance(rest: Iterable[tuple[int, str]], skipped: int, last: int) -> tuple[int, tuple[int, str] | None]:
    """Pass over `skipped` images; the last place that there was, and the image after them."""
    for passed in islice(rest, skipped):
        last = passed[0]
    found = next(iter(rest), None)
    return (last, None) if found is None else (found[0], found)
