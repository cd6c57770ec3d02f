"""The sizes of a batch's images: the list is read, then the headers of all or of a sample, never a pixel."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from muniflow.errors import Fault, Invalid, Unavailable
from muniflow.forecast.sizes import Picture, SizeSample, choose, dice_of
from muniflow.forecast.task_class import Reads
from muniflow.images.limits import ImageLimits
from muniflow.images.pictures import read_pictures
from muniflow.model.batch import Batch
from muniflow.model.operation import Size
from muniflow.store.listing import iter_keys, place_of
from muniflow.store.types import Store

MAX_NAMED = 3
"""Images that cannot be read and are named."""
MAX_GIVEN = 1_000
"""Sizes that a request may list."""


@dataclass(frozen=True)
class Sampling:
    """The sizes of a batch, and the images that cannot be read."""

    sample: SizeSample
    unreadable: tuple[Fault, ...] = ()
    """The first ones, by place."""


def sample_sizes(batch: Batch, source: Store, output: Store, limits: ImageLimits) -> Sampling:
    """List the images of a batch and read the sizes of all, or of a sample.

    Raises:
        Invalid: the images of the batch cannot be used, or none of those looked at can be read.
        Unavailable: the store is away.
    """
    try:
        choice = choose(iter_keys(batch, source, output), dice_of(batch.fingerprint))
    except Unavailable as error:
        raise Unavailable(f"the list of images below {batch.source or 'source'!r}", str(error)) from error
    pictures = read_pictures(source.open, choice.keys, limits)
    faults = tuple(
        Fault(place_of(batch, place), f"{key} cannot be read as an image")
        for place, key, picture in zip(choice.places, choice.keys, pictures, strict=True)
        if picture is None
    )
    if len(faults) == len(pictures):
        raise Invalid(faults[:MAX_NAMED])
    return Sampling(SizeSample.of(choice.count, choice.places, pictures), faults[:MAX_NAMED])


class GivenSize(BaseModel):
    """Images of one size, where a plan is asked for before they are anywhere."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    width: Annotated[int, Field(ge=1, le=65_535)]
    height: Annotated[int, Field(ge=1, le=65_535)]
    count: Annotated[int, Field(ge=1, le=100_000_000)] = 1
    format: Reads = "jpg"


GivenSizes = Annotated[list[GivenSize], Field(min_length=1, max_length=MAX_GIVEN)]


def given_sizes(sizes: Sequence[GivenSize]) -> Sampling:
    """Take the sizes as somebody lists them, one at least."""
    count = sum(one.count for one in sizes)
    pictures = _spread(sizes, min(count, MAX_GIVEN))
    return Sampling(SizeSample.of(count, range(len(pictures)), pictures))


def _spread(sizes: Sequence[GivenSize], entries: int) -> list[Picture]:
    """So many pictures, each size in its proportion, in their order."""
    count, passed = sum(one.count for one in sizes), 0
    pictures: list[Picture] = []
    for one in sizes:
        passed += one.count
        share = round(passed * entries / count) - len(pictures)
        pictures += [Picture(Size(one.width, one.height), one.format)] * share
    return pictures
