"""Decodes incoming messages, also malformed ones and those of other versions."""

import json
import logging
from typing import ClassVar, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from muniflow.model.lineage import WHOLE
from muniflow.model.messages import Settled
from muniflow.model.pixels import Pair
from muniflow.model.topology import DELIVERY_LIMIT
from muniflow.model.wire import OPEN
from muniflow.reason_codes import ReasonCode
from muniflow.transport.types import Delivery

log = logging.getLogger(__name__)
Model = TypeVar("Model", bound=BaseModel)


def read_message(model: type[Model], delivery: Delivery) -> Model | None:
    """Return the message of a delivery; `None`, with one warning, if it is malformed."""
    try:
        return model.model_validate_json(delivery.body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        log.warning(
            "malformed message: %s %s", place, first["msg"], extra={"queue": delivery.queue, "model": model.__name__}
        )
        return None


class Origin(BaseModel):
    """A tile of a task, as in all versions."""

    model_config: ClassVar[ConfigDict] = OPEN

    lineage: tuple[Pair, ...] = WHOLE


class Lost(BaseModel):
    """The fields that tasks of all versions have: enough to settle a task that this build does not understand."""

    model_config: ClassVar[ConfigDict] = OPEN

    v: int = 1
    batch: str
    image: int
    run: int = 0
    step: int = 0
    tiles: tuple[Origin, ...] = ()

    def failed(self, reason: str, code: ReasonCode) -> tuple[Settled, ...]:
        """Return events by which all its tiles have failed at its step."""
        lineages = tuple(tile.lineage for tile in self.tiles) or (WHOLE,)
        return tuple(
            Settled.failure(self.batch, self.image, self.run, lineage=lineage, reason=reason, step=self.step, code=code)
            for lineage in lineages
        )


def read_lost(delivery: Delivery) -> tuple[Settled, ...] | None:
    """Return the events for a task that the broker gave up; `None` if it is not a task."""
    task = read_message(Lost, delivery)
    if task is None:
        return None
    if delivery.headers.get("x-first-death-reason") != "rejected":
        return task.failed(f"the broker gave this task up after {DELIVERY_LIMIT} deliveries", "deliveries_exhausted")
    if task.v > 1:
        return task.failed(
            f"a worker of an earlier build refused this task (message version {task.v}): "
            "update the workers, then run the image again",
            "worker_outdated",
        )
    return task.failed("no worker could read this task", "task_unreadable")


class StatedBatch(NamedTuple):
    """What an invalid document says of itself, for its rejection."""

    batch_id: str = ""
    municipality: str = ""
    name: str = ""


def stated_batch(body: bytes) -> StatedBatch:
    """Return what an invalid document says of itself; empty where it says nothing."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return StatedBatch()
    found = [document.get(name) if isinstance(document, dict) else None for name in StatedBatch._fields]
    return StatedBatch(*(text[:200] if isinstance(text, str) else "" for text in found))
