"""What the coordinator keeps of a batch, and the tasks that it makes of it."""

import json
from collections.abc import Callable
from dataclasses import replace

from pydantic import TypeAdapter

from muniflow.batch import Batch
from muniflow.messages import Task
from muniflow.topology import step_queue

_BATCH: TypeAdapter[Batch] = TypeAdapter(Batch)

TaskWriter = Callable[[int, str, str, int, float], bytes]
"""`(image, stem, suffix, run, published_at) -> body` of the first task of an image."""


def write_spec(batch: Batch) -> str:
    """A batch as it is kept: without its images, which are rows."""
    return _BATCH.dump_json(replace(batch, images=None, manifest=None)).decode()


def read_spec(spec: str) -> Batch:
    """What `write_spec` wrote."""
    return _BATCH.validate_json(spec)


def first_queue(batch: Batch) -> str:
    """Where the tasks of whole images go."""
    return step_queue(batch.route[0].op)


def task_writer(batch: Batch) -> TaskWriter:
    """The writer of the first tasks of a batch.

    Only five fields differ between the images of a batch, so the rest is written once: a pydantic model for each of
    a million images would cost more than everything else that dispatching does.
    """
    example = Task(
        batch=batch.batch_id,
        image=0,
        source="",
        stem="",
        destination=batch.destination,
        encoding=batch.encoding,
        decode=batch.decode,
        route=batch.route,
    )
    varying = {"image", "source", "stem", "run", "published_at", "step", "lineage", "attempt", "pixels"}
    fixed = example.model_dump_json(exclude=varying, exclude_none=True).removesuffix("}")
    source = batch.source

    def write(image: int, stem: str, suffix: str, run: int, published_at: float) -> bytes:
        return (
            f'{fixed},"image":{image},"source":{json.dumps(source + stem + suffix)},"stem":{json.dumps(stem)},'
            f'"run":{run},"published_at":{published_at:.3f}}}'
        ).encode()

    return write
