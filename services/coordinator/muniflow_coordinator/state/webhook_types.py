"""Webhooks in the database: those that wait, and those that were given up."""

from collections.abc import Collection
from typing import NamedTuple, Protocol


class NewWebhook(NamedTuple):
    """The end of a batch that is to be told."""

    event: str
    """The id of the event; one that is there already is the same."""
    owner: str
    batch: str
    url: str
    host: str
    """With its port; of the URL."""
    body: bytes
    at: float
    """Unix time, seconds."""


class WebhookRow(NamedTuple):
    """A webhook that is not delivered."""

    number: int
    event: str
    owner: str
    batch: str
    url: str
    host: str
    body: bytes
    created_at: float
    attempts: int
    next_at: float
    dead_at: float | None
    """When it was given up; `None`: it waits."""
    code: str | None
    """Why the last attempt failed, for programs."""
    error: str | None


class Attempt(NamedTuple):
    """An attempt that failed."""

    number: int
    at: float
    code: str
    error: str


class WebhookState(Protocol):
    """As `types.State`: writers first, then readers."""

    def keep_webhook(self, new: NewWebhook) -> None:
        """Record a webhook; one with its event that is there already stays."""
        ...

    def drop_webhook(self, number: int) -> None:
        """Delete a webhook, which was delivered."""
        ...

    def delay_webhook(self, failed: Attempt, next_at: float) -> None:
        """Record a failed attempt, and when the next one is due."""
        ...

    def bury_webhook(self, failed: Attempt) -> None:
        """Record a failed attempt as the last one."""
        ...

    def bury_webhooks(self, created_before: float, at: float, code: str) -> int:
        """Give up all that are older; returns how many."""
        ...

    def forget_webhooks(self, dead_before: float) -> None:
        """Delete those that were given up before this unix time."""
        ...

    def due_webhook(self, now: float, but: Collection[str]) -> WebhookRow | None:
        """Return the one that is due longest, for none of the hosts `but`."""
        ...

    def webhooks(self, *, owner: str | None = None, after: int | None = None, limit: int = 100) -> list[WebhookRow]:
        """Return a page of those that wait or were given up, newest first, with numbers below `after`."""
        ...
