"""What a task carries of the grant that the coordinator signed for its batch; see `muniflow.model.allowed`."""

from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from muniflow.model.wire import OPEN


class Grant(BaseModel):
    """The signature of a batch; what is signed besides `sources` is in the task itself."""

    model_config: ClassVar[ConfigDict] = OPEN

    key: Annotated[str, Field(max_length=16)]
    """Id of the key that signed it."""
    sources: tuple[str, ...]
    """Prefixes of the source store below which its tasks read."""
    signature: Annotated[str, Field(max_length=128)]
    """Ed25519, in URL-safe base64 without padding."""
