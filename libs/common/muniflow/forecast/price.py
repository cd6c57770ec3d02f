"""What one image makes and takes on a route, by its size alone: the price list of budgets.

Seconds are those of the documented costs, as if each step ran alone: the same batch has the same price on every machine
and every day, whatever was learned of service times since.
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from math import ceil, isqrt
from typing import NamedTuple, Self

from muniflow.errors import Rejected
from muniflow.forecast.defaults import Costs
from muniflow.forecast.route import PIXELS_PER_MP
from muniflow.forecast.service_time import ServiceTime
from muniflow.forecast.sizes import Picture, SizeSample
from muniflow.forecast.task_class import RAW, ClassStep, Reads, TaskClass
from muniflow.model.batch import Batch
from muniflow.model.budget import Amounts
from muniflow.model.bundles import TASK_PIXELS, TASK_TILES
from muniflow.model.encoding import Encoding
from muniflow.model.messages import Decode, Route, RouteStep, leaf_count
from muniflow.model.operation import Operations, Params, Size, read_params
from muniflow.model.rendering import DEFAULT, keeps_alpha

MEBI = 2**20


class ImagePrice(NamedTuple):
    """What one image makes and takes."""

    made_px: int = 0
    """Pixels that all steps make."""
    most_px: int = 0
    """Pixels that one step makes, at most, all tiles together."""
    output_bytes: int = 0
    """Of its outputs, before they are encoded."""
    seconds: float = 0.0


def step_seconds(step: RouteStep, in_px: int, out_px: int) -> float:
    """Seconds of a step's pixel function alone, without reading and writing."""
    cost = Costs().operation(ClassStep(op=step.op, params=json.dumps(step.params, sort_keys=True)))
    return (cost.s_per_mp_in * in_px + cost.s_per_mp_out * out_px) / PIXELS_PER_MP


@dataclass(frozen=True)
class PriceList:
    """The prices of a route. Each distinct size and format is worked out once."""

    route: Route
    encoding: Encoding
    decode: Decode
    bytes_per_pixel: int
    _params: tuple[Params, ...]
    _prices: dict[Picture, ImagePrice] = field(default_factory=dict, compare=False, repr=False)
    _times: dict[tuple[int, Reads], ServiceTime] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, batch: Batch, operations: Operations) -> Self:
        """The prices of a checked batch."""
        params = tuple(read_params(operations[step.op], step.params) for step in batch.route)
        channels = 4 if keeps_alpha(batch.rendering or DEFAULT, batch.encoding) else 3
        return cls(batch.route, batch.encoding, batch.decode, channels, params)

    def price(self, picture: Picture) -> ImagePrice:
        """The price of an image. What a step refuses fails there: it makes nothing after it."""
        if picture not in self._prices:
            self._prices[picture] = self._walk(picture)
        return self._prices[picture]

    def largest(self, max_pixels: int) -> ImagePrice:
        """The highest price of any image of at most so many pixels, part by part.

        A step may refuse to enlarge the largest ones, so a quarter, a sixteenth and so on are looked at, too.
        """
        sides = {isqrt(max_pixels >> halvings) for halvings in range(0, max_pixels.bit_length(), 2)}
        prices = [self.price(Picture(Size(side, side), "jpg")) for side in sides]
        return ImagePrice(*(max(part) for part in zip(*prices, strict=True)))

    def amounts(self, sample: SizeSample, unknown: ImagePrice) -> Amounts:
        """What all images of a batch ask for together.

        Args:
            sample: their sizes.
            unknown: the price of an image whose size is not known.
        """
        prices = [self.price(entry.picture) if entry.picture else unknown for entry in sample.entries]
        each = sample.count / max(sample.sampled, 1)
        return Amounts(
            images=sample.count,
            outputs=sample.count * leaf_count(self.route),
            megapixels=each * sum(price.made_px for price in prices) / PIXELS_PER_MP,
            mebibytes=each * sum(price.output_bytes for price in prices) / MEBI,
            seconds=each * sum(price.seconds for price in prices),
        )

    def _walk(self, picture: Picture) -> ImagePrice:
        tiles = Counter({picture.size: 1})
        made_px = most_px = 0
        seconds = 0.0
        for place, params in enumerate(self._params):
            made = _made(params, tiles)
            in_px, out_px = _pixels(tiles), _pixels(made)
            time = self._time(place, picture.reads if place == 0 else RAW)
            seconds += time.seconds(in_px / PIXELS_PER_MP, out_px / PIXELS_PER_MP, _tasks(tiles), made.total())
            made_px, most_px, tiles = made_px + out_px, max(most_px, out_px), made
        return ImagePrice(made_px, most_px, _pixels(tiles) * self.bytes_per_pixel, seconds)

    def _time(self, place: int, reads: Reads) -> ServiceTime:
        if (place, reads) not in self._times:
            writes = self.encoding.format if place == len(self.route) - 1 else RAW
            task_class = TaskClass.of(self.route[place : place + 1], reads, writes, "cpu", self.decode)
            self._times[place, reads] = Costs().of(task_class)
        return self._times[place, reads]


def _made(params: Params, tiles: Counter[Size]) -> Counter[Size]:
    made: Counter[Size] = Counter()
    for size, count in tiles.items():
        try:
            each = Counter(params.sizes(size))
        except Rejected:
            continue
        for one, times in each.items():
            made[one] += times * count
    return made


def _pixels(tiles: Counter[Size]) -> int:
    return sum(size.pixels * count for size, count in tiles.items())


def _tasks(tiles: Counter[Size]) -> int:
    """How many tasks these tiles are: small ones travel together (`muniflow.model.bundles`)."""
    large = sum(count for size, count in tiles.items() if size.pixels > TASK_PIXELS)
    small = Counter({size: count for size, count in tiles.items() if size.pixels <= TASK_PIXELS})
    return large + max(ceil(_pixels(small) / TASK_PIXELS), ceil(small.total() / TASK_TILES))
