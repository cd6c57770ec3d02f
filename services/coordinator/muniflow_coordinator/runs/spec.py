"""What the coordinator keeps of a batch, and the tasks that it makes of it."""

import json
from collections.abc import Callable
from dataclasses import replace

from pydantic import TypeAdapter

from muniflow.model.batch import Batch
from muniflow.model.messages import Task
from muniflow.model.topology import step_queue
from muniflow.model.wire import needed_version, newer

_BATCH: TypeAdapter[Batch] = TypeAdapter(Batch)
_encode = json.JSONEncoder().encode

TaskWriter = Callable[[int, str, str, int, float], bytes]
"""`(image, stem, suffix, run, published_at) -> body` of the first task of an image."""


def write_spec(batch: Batch) -> str:
    """A batch as it is kept: without its images, which are rows; `v` is the version of its tasks."""
    kept = _BATCH.dump_json(without_images(batch)).decode()
    return f'{{"v":{needed_version(_example(batch))},{kept.removeprefix("{")}'


def without_images(batch: Batch) -> Batch:
    """What is kept of a batch in memory, too: a list of images may be long."""
    return replace(batch, images=None, manifest=None)


def read_spec(spec: str) -> Batch:
    """What `write_spec` wrote; of a batch of a later build, what this one knows of it, to show and not to run."""
    return _BATCH.validate_json(spec)


def spec_problem(spec: str) -> str | None:
    """Why this build must not run a batch that a later one has accepted; `None` where it may."""
    version = json.loads(spec).get("v", 1)
    return str(newer(version, Task.understands)) if version > Task.understands else None


def first_queue(batch: Batch) -> str:
    """Where the tasks of whole images go."""
    return step_queue(batch.route[0].op)


def _example(batch: Batch) -> Task:
    """A task with all that the images of a batch have in common."""
    return Task(
        batch=batch.batch_id,
        image=0,
        source="",
        stem="",
        destination=batch.destination,
        encoding=batch.encoding,
        decode=batch.decode,
        route=batch.route,
    )


def _inside(text: str) -> str:
    """As it stands between the quotes of a JSON string; each character by itself, so parts may be put together."""
    return _encode(text)[1:-1]


def task_writer(batch: Batch) -> TaskWriter:
    """The writer of the first tasks of a batch.

    Only five fields differ between the images of a batch, so the rest is written once: a pydantic model for each of
    a million images would cost more than everything else that dispatching does.
    """
    varying = {"image", "source", "stem", "run", "published_at", "step", "lineage", "attempt", "pixels"}
    fixed = _example(batch).model_dump_json(exclude=varying, exclude_none=True).removesuffix("}")
    start = f'{fixed},"source":"{_inside(batch.source)}'

    def write(image: int, stem: str, suffix: str, run: int, published_at: float) -> bytes:
        name = _inside(stem)
        return (
            f'{start}{name}{_inside(suffix)}","stem":"{name}",'
            f'"image":{image},"run":{run},"published_at":{published_at:.3f}}}'
        ).encode()

    return write
