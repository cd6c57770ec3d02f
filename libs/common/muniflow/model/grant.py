"""What a task carries of the grant that the coordinator signed for its batch; see `muniflow.model.allowed`."""

from typing import Annotated, ClassVar, Final

from pydantic import BaseModel, ConfigDict, Field

from muniflow.model.wire import OPEN

MARK_CHARS: Final = 22
"""Of a signature: 132 of its bits, which nobody guesses, and too few to make a task with."""


class Grant(BaseModel):
    """The signature of a batch; what is signed besides `sources` is in the task itself."""

    model_config: ClassVar[ConfigDict] = OPEN

    key: Annotated[str, Field(max_length=16)]
    """Id of the key that signed it."""
    sources: tuple[str, ...]
    """Prefixes of the source store below which its tasks read."""
    signature: Annotated[str, Field(max_length=128)]
    """Ed25519, in URL-safe base64 without padding."""

    @property
    def mark(self) -> str:
        """A part of names that is known only to whoever has a task of the batch."""
        return f".{self.signature[:MARK_CHARS]}"
