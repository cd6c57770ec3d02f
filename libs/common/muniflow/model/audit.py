"""Who did what, when, from where: an entry of the audit trail, as a message and as an answer."""

from typing import Annotated, Final, Literal

from pydantic import Field

from muniflow.model.owners import DEFAULT_OWNER
from muniflow.model.wire import Message

AuditAction = Literal[
    "submit",
    "cancel",
    "replay",
    "drop",
    "replay letter",
    "drop letter",
    "download",
    "delete",
    "key made",
    "key revoked",
]
BY_HEADER: Final = "muniflow-by"
"""The API key with which something was asked of the gateway."""
FROM_HEADER: Final = "muniflow-from"
"""The address from which it was asked."""


class AuditEntry(Message):
    """One act. What is asked of the coordinator is recorded where it is handled; a gateway tells of the rest."""

    id: Annotated[str, Field(min_length=1, max_length=80)]
    """The same act, told twice, has the same id and is recorded once."""
    at: float
    """Unix time, seconds."""
    action: AuditAction
    owner: str = DEFAULT_OWNER
    """For whom."""
    by: str = ""
    """The API key, or the user of the broker."""
    origin: str = ""
    """The address of the connection, or `amqp`."""
    batch: str = ""
    detail: str = ""
    """What came of it where it was refused; the name of a key."""
