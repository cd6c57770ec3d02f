"""Which failures and letters a command is about, and the commands to the coordinator that treat them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from muniflow.model import topology
from muniflow.model.api_failures import FailureCount, StrayLetter
from muniflow.model.messages import Command
from muniflow.model.topology import origin_of

LETTER_QUEUES = {str(origin_of(name)).removeprefix("muniflow."): name for name in topology.LETTER_QUEUES}
"""By the name that people give: the dead-letter queues of messages that are no task."""
Treatment = Literal["replay", "drop"]


@dataclass(frozen=True)
class FailureChoice:
    """What the options of `muniflow dead` choose; `None` chooses any."""

    batch: str | None = None
    stage: str | None = None
    """An operation, or one of `LETTER_QUEUES` or any dead-letter queue."""
    reason_code: str | None = None
    image: int | None = None
    letter: int | None = None
    owner: str | None = None
    """Whose batches."""

    @property
    def everything(self) -> bool:
        """Whether nothing is named."""
        return self == FailureChoice()

    @property
    def queue(self) -> str | None:
        """The dead-letter queue that is named."""
        stage = self.stage or ""
        return stage if origin_of(stage) is not None else LETTER_QUEUES.get(stage)

    @property
    def has_failures(self) -> bool:
        """Whether failed images may be meant."""
        return self.letter is None and self.queue is None

    @property
    def has_letters(self) -> bool:
        """Whether letters may be meant: they have neither an image nor a reason code."""
        return self.letter is not None or self.queue is not None or self.everything

    def query(self) -> dict[str, str | int | None]:
        """The parameters of a request about failures."""
        return {
            "owner": self.owner,
            "batch": self.batch,
            "operation": self.stage,
            "reason_code": self.reason_code,
            "image": self.image,
        }


def commands_for(
    treatment: Treatment, choice: FailureChoice, groups: Sequence[FailureCount], letters: Iterable[StrayLetter]
) -> list[Command]:
    """The commands that treat what is chosen: one for all failed images, and one for each letter.

    Of an owner there is one for each batch, as a command names no owner.

    Args:
        treatment: what to do.
        choice: what is meant.
        groups: the failures that are there; without any, no command is needed.
        letters: those that are meant.
    """
    batches = [choice.batch or ""] if groups else []
    if choice.owner is not None and choice.batch is None:
        batches = list(dict.fromkeys(group.batch_id for group in groups))
    commands = [
        Command(
            action="reopen" if treatment == "replay" else "drop",
            batch=batch,
            image=choice.image,
            operation=choice.stage,
            reason_code=choice.reason_code,
        )
        for batch in batches
    ]
    action: Literal["replay_letter", "drop_letter"] = "replay_letter" if treatment == "replay" else "drop_letter"
    return commands + [Command(action=action, letter=letter.number) for letter in letters]
