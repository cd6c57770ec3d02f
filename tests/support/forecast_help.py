"""Makers of batches, stages and samples."""

import json

from muniflow.forecast.load import BatchLoad
from muniflow.forecast.sizes import Picture, SizeSample
from muniflow.forecast.stage import Stage, Stages
from muniflow.forecast.work import StageWork
from muniflow.model.batch import Batch, read_batch
from muniflow.model.operation import Size, installed_operations

OPERATIONS = installed_operations()
NAMES = ("resize", "split", "blur")
LONG_ROUTE = [["resize", "50%"], ["split", True], ["blur", "gaussian"]]


def batch(*operations, output="jpg", **fields) -> Batch:
    document = {"source": "a/", "operations": list(operations), "output": output, **fields}
    return read_batch(json.dumps(document), OPERATIONS)


def stage(name: str, operations: str | None = None, **fields) -> Stage:
    """A stage that carries its name, or these operations."""
    return Stage.model_validate({"name": name, "operations": tuple((operations or name).split(",")), **fields})


def one_per_operation(**fields) -> Stages:
    return tuple(stage(name, **fields) for name in NAMES)


def load(name="b", images=1_000.0, **fields) -> BatchLoad:
    """A batch whose images take so many seconds in each stage: `resize=0.1`."""
    work = {key: fields.pop(key) for key in NAMES if key in fields}
    stages = {key: StageWork(seconds * images, seconds, 1, seconds) for key, seconds in work.items()}
    return BatchLoad(name, images, stages, **fields)


def chained(**fields) -> Stages:
    return (stage("all", "resize,split,blur", **fields),)


def photo(width_px=1024, height_px=1024, reads="jpg") -> Picture:
    return Picture(Size(width_px, height_px), reads)


def sample(*pictures: Picture | None, count: int | None = None) -> SizeSample:
    """These pictures, evenly spread over a batch of `count` images."""
    count = count or len(pictures)
    places = [number * count // len(pictures) for number in range(len(pictures))]
    return SizeSample.of(count, places, pictures)
