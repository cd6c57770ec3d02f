"""Webhooks that were not delivered, as the coordinator's HTTP interface lists them."""

from muniflow.model.api import Answer

WEBHOOKS = "/v1/webhooks"


class UndeliveredWebhook(Answer):
    """The end of a batch that a receiver has not taken."""

    id: str
    """The id of its event, as in `webhook-id`."""
    batch_id: str
    owner: str
    url: str
    """Without its query, which may hold a secret."""
    created_at: float
    attempts: int
    next_at: float | None = None
    """When it is tried again; `None`: it was given up."""
    dead_at: float | None = None
    """When it was given up; `None`: it waits."""
    reason_code: str | None = None
    """Why the last attempt failed."""
    reason: str | None = None


class UndeliveredWebhooks(Answer):
    """A page, newest first."""

    webhooks: tuple[UndeliveredWebhook, ...]
    next: str | None = None
    """Give it as `after` for the next page."""
