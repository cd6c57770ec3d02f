"""From a delivery to a task. Pure."""

from collections.abc import Sequence

from pydantic import ValidationError

from muniflow.model.messages import Task


def read_task(body: bytes, operations: Sequence[str]) -> Task:
    """Read a delivery.

    Raises:
        ValueError: it is no task for one of `operations`; the text says why.
    """
    try:
        task = Task.from_bytes(body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"{place}: {first['msg']}" if place else first["msg"]) from None
    if task.step >= len(task.route):
        raise ValueError(f"step {task.step} of a route of {len(task.route)}")
    if task.op not in operations:
        raise ValueError(f"operation {task.op!r} is not carried here")
    return task
