"""The specification of a batch in the database, and its tasks."""

import json
from collections.abc import Callable
from dataclasses import replace

from pydantic import TypeAdapter

from muniflow.model.batch import Batch
from muniflow.model.grant import Grant
from muniflow.model.messages import Task
from muniflow.model.wire import needed_version, newer
from muniflow.store.listing import ImageRef, first_task

_BATCH: TypeAdapter[Batch] = TypeAdapter(Batch)
_encode = json.JSONEncoder().encode

TaskWriter = Callable[[int, str, str, int, float], bytes]
"""`(image, stem, suffix, run, published_at) -> body` of the first task of an image."""


def write_spec(batch: Batch) -> str:
    """Return a batch as JSON for the database, without its images, which are rows; `v` is the version of its tasks."""
    # `again` asks for one run, and is no part of it; an earlier build may not know what it says.
    kept = _BATCH.dump_json(replace(without_images(batch), again=None)).decode()
    return f'{{"v":{needed_version(example_task(batch))},{kept.removeprefix("{")}'


def without_images(batch: Batch) -> Batch:
    """Return the batch without its list of images, which may be long."""
    return replace(batch, images=None, manifest=None)


def read_spec(spec: str) -> Batch:
    """Return the batch that `write_spec` wrote. That of a later build may be shown, but not run."""
    return _BATCH.validate_json(spec)


def spec_problem(spec: str) -> str | None:
    """Return why this build must not run a batch that a later build has accepted; `None` if it may."""
    version = json.loads(spec).get("v", 1)
    return str(newer(version, Task.understands)) if version > Task.understands else None


def example_task(batch: Batch) -> Task:
    """Return a task with the fields that all images of a batch share."""
    return first_task(batch, ImageRef(0, "", ""))


def _inside(text: str) -> str:
    """Return text as it stands between the quotes of a JSON string; such texts may be joined."""
    return _encode(text)[1:-1]


def task_writer(batch: Batch, grant: Grant | None = None) -> TaskWriter:
    """Return the writer of the first tasks of a batch, with the grant that was signed for it.

    Only five fields differ between the images of a batch, so the rest is written once: a pydantic model for each of
    a million images would cost more than the rest of dispatching.
    """
    varying = {"image", "source", "stem", "run", "published_at", "step", "lineage", "attempt", "pixels"}
    example = example_task(batch).model_copy(update={"grant": grant})
    fixed = example.model_dump_json(exclude=varying, exclude_none=True).removesuffix("}")
    start = f'{fixed},"source":"{_inside(batch.source)}'

    def write(image: int, stem: str, suffix: str, run: int, published_at: float) -> bytes:
        name = _inside(stem)
        return (
            f'{start}{name}{_inside(suffix)}","stem":"{name}",'
            f'"image":{image},"run":{run},"published_at":{published_at:.3f}}}'
        ).encode()

    return write
