"""Webhooks in the database: `webhook_types.WebhookState`."""

from collections.abc import Collection

from sqlalchemy import delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from muniflow_coordinator.state.charges import SqlCharges
from muniflow_coordinator.state.rows import storable
from muniflow_coordinator.state.tables import webhooks
from muniflow_coordinator.state.webhook_types import Attempt, NewWebhook, WebhookRow

_ROW = [webhooks.c[name] for name in WebhookRow._fields]
_WAITS = webhooks.c.dead_at.is_(None)


class SqlWebhooks(SqlCharges):
    """Reads and writes webhooks."""

    def keep_webhook(self, new: NewWebhook) -> None:
        """Record a webhook; one with its event that is there already stays."""
        dialect = postgresql if self._writer.dialect.name == "postgresql" else sqlite
        values = new._asdict() | {"created_at": new.at, "next_at": new.at, "attempts": 0}
        del values["at"]
        with self._write(None) as connection:
            connection.execute(dialect.insert(webhooks).on_conflict_do_nothing(), [values])

    def drop_webhook(self, number: int) -> None:
        """Delete a webhook, which was delivered."""
        with self._write(None) as connection:
            connection.execute(delete(webhooks).where(webhooks.c.number == number))

    def delay_webhook(self, failed: Attempt, next_at: float) -> None:
        """Record a failed attempt, and when the next one is due."""
        self._record(failed, next_at=next_at)

    def bury_webhook(self, failed: Attempt) -> None:
        """Record a failed attempt as the last one."""
        self._record(failed, dead_at=failed.at)

    def _record(self, failed: Attempt, **values: float) -> None:
        mine = update(webhooks).where(webhooks.c.number == failed.number)
        told = {"code": failed.code, "error": storable(failed.error), "attempts": webhooks.c.attempts + 1}
        with self._write(None) as connection:
            connection.execute(mine.values(told | values))

    def bury_webhooks(self, created_before: float, at: float, code: str) -> int:
        """Give up all that are older; returns how many."""
        older = update(webhooks).where(_WAITS, webhooks.c.created_at < created_before)
        with self._write(None) as connection:
            return connection.execute(older.values(dead_at=at, code=code)).rowcount

    def forget_webhooks(self, dead_before: float) -> None:
        """Delete those that were given up before this unix time."""
        with self._write(None) as connection:
            connection.execute(delete(webhooks).where(webhooks.c.dead_at < dead_before))

    def due_webhook(self, now: float, but: Collection[str]) -> WebhookRow | None:
        """Return the one that is due longest, for none of the hosts `but`."""
        query = select(*_ROW).where(_WAITS, webhooks.c.next_at <= now, webhooks.c.host.not_in(but))
        with self._read() as connection:
            row = connection.execute(query.order_by(webhooks.c.next_at, webhooks.c.number).limit(1)).one_or_none()
        return None if row is None else WebhookRow(*row)

    def webhooks(self, *, owner: str | None = None, after: int | None = None, limit: int = 100) -> list[WebhookRow]:
        """Return a page of those that wait or were given up, newest first, with numbers below `after`."""
        query = select(*_ROW).order_by(webhooks.c.number.desc()).limit(limit)
        if owner is not None:
            query = query.where(webhooks.c.owner == storable(owner))
        if after is not None:
            query = query.where(webhooks.c.number < after)
        with self._read() as connection:
            return [WebhookRow(*row) for row in connection.execute(query)]
