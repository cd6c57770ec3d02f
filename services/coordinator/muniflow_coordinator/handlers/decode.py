"""Reading what comes in from the broker; what cannot be read is told apart here and nowhere else."""

import json
import logging
from typing import ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from muniflow.model.lineage import WHOLE
from muniflow.model.messages import Pair, Settled
from muniflow.model.topology import DELIVERY_LIMIT
from muniflow.model.wire import OPEN
from muniflow.transport.types import Delivery

log = logging.getLogger(__name__)
Model = TypeVar("Model", bound=BaseModel)


def read_message(model: type[Model], delivery: Delivery) -> Model | None:
    """The message of a delivery, or `None`, with one warning, when it is not such a message."""
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
    """A part that a task is about, in all versions."""

    model_config: ClassVar[ConfigDict] = OPEN

    lineage: tuple[Pair, ...] = WHOLE


class Lost(BaseModel):
    """What tasks of all versions have: enough to settle one that this build does not understand."""

    model_config: ClassVar[ConfigDict] = OPEN

    v: int = 1
    batch: str
    image: int
    run: int = 0
    step: int = 0
    tiles: tuple[Origin, ...] = ()

    def failed(self, reason: str) -> tuple[Settled, ...]:
        """All that it is about has failed at its step."""
        lineages = tuple(tile.lineage for tile in self.tiles) or (WHOLE,)
        return tuple(
            Settled(batch=self.batch, image=self.image, run=self.run, lineage=lineage, reason=reason, step=self.step)
            for lineage in lineages
        )


def read_lost(delivery: Delivery) -> tuple[Settled, ...] | None:
    """What a copy of a task that the broker gave up on means to the ledger; `None`: it is not a task."""
    task = read_message(Lost, delivery)
    if task is None:
        return None
    if delivery.headers.get("x-first-death-reason") != "rejected":
        return task.failed(f"the broker gave this task up after {DELIVERY_LIMIT} deliveries")
    if task.v > 1:
        return task.failed(
            f"a worker of an earlier build refused this task (message version {task.v}): "
            "update the workers, then run the image again"
        )
    return task.failed("no worker could read this task")


def batch_id_of(body: bytes) -> str:
    """The id that a batch document claims, as far as it can be read: for its rejection."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    claimed = document.get("batch_id") if isinstance(document, dict) else None
    return claimed[:80] if isinstance(claimed, str) else ""
