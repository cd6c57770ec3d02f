"""Reading what comes in from the broker; what cannot be read is told apart here and nowhere else."""

import json
import logging
from typing import TypeVar

from pydantic import ValidationError

from muniflow.messages import Message, Settled, Task
from muniflow.topology import DELIVERY_LIMIT
from muniflow.transport.types import Delivery

log = logging.getLogger(__name__)
MessageModel = TypeVar("MessageModel", bound=Message)


def read_message(model: type[MessageModel], delivery: Delivery) -> MessageModel | None:
    """The message of a delivery, or `None`, with one warning, when it is not such a message."""
    try:
        return model.from_bytes(delivery.body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        log.warning(
            "malformed message: %s %s", place, first["msg"], extra={"queue": delivery.queue, "model": model.__name__}
        )
        return None


def read_lost(delivery: Delivery) -> tuple[Settled, ...] | None:
    """What a copy of a task that the broker gave up on means to the ledger; `None`: it is not a task."""
    task = read_message(Task, delivery)
    if task is None:
        return None
    if delivery.headers.get("x-first-death-reason") == "rejected":
        reason = "no worker could read this task"
    else:
        reason = f"the broker gave this task up after {DELIVERY_LIMIT} deliveries"
    return task.failed(reason)


def batch_id_of(body: bytes) -> str:
    """The id that a batch document claims, as far as it can be read: for its rejection."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    claimed = document.get("batch_id") if isinstance(document, dict) else None
    return claimed[:80] if isinstance(claimed, str) else ""
