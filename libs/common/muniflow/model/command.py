"""What people ask of the coordinator, over the broker."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from muniflow.model.wire import Message


class Command(Message):
    """A command of a person to the coordinator."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid")

    action: Literal["cancel", "reopen", "drop", "erase", "replay_letter", "drop_letter"]
    """`reopen` runs failed images again from their source, and nothing else; `drop` lists failures no more;
    `erase` removes every byte of a batch, which it cancels first. A letter is a message that is no task of a batch."""
    batch: str = ""
    """Empty: every batch with failures of the sender's owner, for `reopen` and `drop`."""
    image: Annotated[int, Field(strict=True)] | None = None
    """For `reopen` and `drop`: one image; `None` means every failed image that is chosen. For `erase`: one image."""
    operation: str | None = None
    """For `reopen` and `drop`: only those that failed at it."""
    reason_code: str | None = None
    """For `reopen` and `drop`: only those that failed for it."""
    letter: Annotated[int, Field(strict=True)] | None = None
    """For letters: its number."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.action.endswith("_letter") != (self.letter is not None):
            raise ValueError("an action on a letter, and no other one, names a letter")
        if self.action == "erase" and not self.batch:
            raise ValueError("`erase` names a batch")
        return self
