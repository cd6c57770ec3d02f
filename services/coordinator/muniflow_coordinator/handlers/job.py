"""A received command: whose batches it may change, which of their failures it means, and what is told of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from muniflow.model.audit import AuditAction
from muniflow.model.messages import Command
from muniflow_coordinator.state.failure_types import Chosen

ACTIONS: Mapping[str, AuditAction] = {
    "cancel": "cancel",
    "reopen": "replay",
    "drop": "drop",
    "erase": "delete",
    "replay_letter": "replay letter",
    "drop_letter": "drop letter",
}
"""What the audit trail says of each command."""


Standing = Literal["runs", "ended", "archived"]
"""Of a batch; one that is being read counts as one that runs."""


def _nobody() -> tuple[str, str]:
    """Of a command that nobody has just given."""
    return "", ""


def _nothing(_batch: str, _detail: str) -> None:
    """Of a command that nobody has just given."""


@dataclass(frozen=True)
class Job:
    """A received command."""

    command: Command
    ack: Callable[[], None]
    owner: str | None = None
    """It is only for batches of this one; `None`: for all, and for letters, which belong to nobody."""
    tell: Callable[[str, str], None] = _nothing
    """Adds to the audit trail what became of it for a batch."""

    sender: Callable[[], tuple[str, str]] = _nobody
    """Who gave it and from where, for the audit trail."""

    @property
    def chosen(self) -> Chosen:
        """Return which failures are meant, of its batch or of all."""
        command = self.command
        return Chosen(operation=command.operation, reason_code=command.reason_code, owner=self.owner)

    def refusal(self, stands: Standing) -> str:
        """Return why it is not done for a batch that stands there; empty: it is."""
        action, image = self.command.action, self.command.image
        if action == "erase" and image is not None and stands == "runs":
            return f"refused: image {image} of a batch that runs; erase it after the end"
        return "refused: the batch is archived" if stands == "archived" and action in {"reopen", "drop"} else ""

    def images(self, total: int) -> range:
        """Return the numbers of the images that are meant, of a batch of `total`."""
        image = self.command.image
        if image is None:
            return range(total)
        return range(image, image + 1) if 0 <= image < total else range(0)

    def for_batch(self, batch_id: str, ack: Callable[[], None]) -> "Job":
        """Return the part of a command without a batch that is for this one."""
        return replace(self, command=self.command.model_copy(update={"batch": batch_id}), ack=ack)
