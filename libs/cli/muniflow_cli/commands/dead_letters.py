"""Dead letters as data: what they are, which ones are meant, and what replaying one does."""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pydantic import ValidationError

from muniflow.model.lineage import Lineage
from muniflow.model.messages import Command, Task
from muniflow.transport.admin import BrowsedMessage

Replay = Command | Literal["again", "keep"]
"""A command for the coordinator; or publish it to its queue again; or leave it, because nothing can be done."""


@dataclass(frozen=True)
class DeadLetter:
    """One dead letter."""

    queue: str
    """The dead-letter queue that it is in."""
    reason: str
    step: int | None = None
    batch: str | None = None
    image: int | None = None
    lineages: tuple[Lineage, ...] = ()
    """The parts of the image that the task was about."""
    failed_at: float | None = None
    """Unix time, seconds."""
    task: Task | None = field(default=None, repr=False)
    body: bytes = field(default=b"", repr=False)

    @property
    def origin(self) -> str:
        """The queue that it was meant for."""
        return self.queue.removesuffix(".dead")

    @property
    def age_s(self) -> float | None:
        """How long ago it failed, in seconds."""
        return None if self.failed_at is None else max(time.time() - self.failed_at, 0.0)

    def document(self, *, whole: bool) -> dict[str, Any]:
        """For JSON; `whole` adds the message itself."""
        known = asdict(self)
        del known["task"], known["body"]
        return known | ({"message": _readable(self.body)} if whole else {})


def read_dead_letter(message: BrowsedMessage) -> DeadLetter:
    """A dead letter, whatever is in it: a task, a batch that was refused, or anything at all."""
    headers = message.headers
    reason = str(headers.get("reason") or _broker_reason(headers))
    failed_at = headers.get("failed_at")
    known = float(failed_at) if isinstance(failed_at, int | float) else None
    try:
        task = Task.from_bytes(message.body)
    except ValidationError:
        return DeadLetter(message.queue, reason, failed_at=known, body=message.body)
    step = headers.get("step")
    return DeadLetter(
        queue=message.queue,
        reason=reason,
        step=step if isinstance(step, int) else task.step,
        batch=task.batch,
        image=task.image,
        lineages=task.lineages,
        failed_at=known,
        task=task,
        body=message.body,
    )


def is_meant(letter: DeadLetter, batch: str | None, image: int | None) -> bool:
    """Whether the user's choice names this letter; `None` names all."""
    return (batch is None or letter.batch == batch) and (image is None or letter.image == image)


def replay_of(letter: DeadLetter) -> Replay:
    """What replays it: a task opens its image again in the ledger, which runs it from its source."""
    if letter.task is not None:
        return Command(action="reopen", batch=letter.task.batch, image=letter.task.image)
    # A batch, an event or a command that could not be read then may be readable by a newer coordinator.
    return "again" if letter.origin != letter.queue else "keep"


def _broker_reason(headers: Mapping[str, object]) -> str:
    match headers.get("x-death"):
        case [{"reason": reason}, *_]:
            return f"given up by the broker: {reason}"
        case _:
            return "unknown"


def _readable(body: bytes) -> object:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")
