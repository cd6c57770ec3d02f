"""The route about webhooks. It runs in the threads of the HTTP server, on the database."""

from collections.abc import Mapping

from muniflow.model.api_webhooks import WEBHOOKS, UndeliveredWebhook, UndeliveredWebhooks
from muniflow.runtime.http import Query, Route
from muniflow_coordinator.api.query import next_after, page_of
from muniflow_coordinator.state.webhook_types import WebhookRow, WebhookState

MAX_PAGE = 500


class WebhookAnswers:
    """Lists what was not delivered."""

    def __init__(self, state: WebhookState) -> None:
        """Answer from the database."""
        self._state = state

    def routes(self) -> Mapping[str, Route]:
        """Return all routes by path."""
        return {WEBHOOKS: lambda query, _parts: self.webhooks(query)}

    def webhooks(self, query: Query) -> UndeliveredWebhooks:
        """Return a page of webhooks that wait or were given up."""
        limit, after = page_of(query, MAX_PAGE)
        rows = self._state.webhooks(owner=query.get("owner"), after=after, limit=limit)
        last = next_after(rows, limit, lambda row: str(row.number))
        return UndeliveredWebhooks(webhooks=tuple(map(_webhook, rows)), next=last)


def _webhook(row: WebhookRow) -> UndeliveredWebhook:
    return UndeliveredWebhook(
        id=row.event,
        batch_id=row.batch,
        owner=row.owner,
        url=row.url.partition("?")[0],
        created_at=row.created_at,
        attempts=row.attempts,
        next_at=row.next_at if row.dead_at is None else None,
        dead_at=row.dead_at,
        reason_code=row.code,
        reason=row.error,
    )
