"""Tells the coordinator what is to be in the audit trail, beside the answer: a broker that is away delays no caller."""

import asyncio
import logging
import secrets
import time
from collections import deque
from contextlib import suppress

from muniflow.errors import Unavailable
from muniflow.model.audit import AuditAction, AuditEntry
from muniflow.model.owners import DEFAULT_OWNER, OWNER_HEADER
from muniflow.model.topology import AUDIT
from muniflow_gateway.auth.api_keys import ApiKey
from muniflow_gateway.clients.broker import Broker

MAX_WAITING = 10_000
"""Entries that are kept while the broker is away; of older ones only the log line is left."""
RETRY_S = 5.0
STOP_S = 2.0
KEY_FILE = "key file"

log = logging.getLogger(__name__)


class AuditTeller:
    """One line of the log at once, and one entry for the ledger as soon as the broker takes it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, broker: Broker, timeout_s: float) -> None:
        """Tell by `broker`, once started; `timeout_s` is the longest wait for its confirm."""
        self._loop = loop
        self._broker = broker
        self._timeout_s = timeout_s
        self._waiting: deque[AuditEntry] = deque(maxlen=MAX_WAITING)
        self._some, self._told = asyncio.Event(), asyncio.Event()
        self._told.set()
        self._telling: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to tell."""
        self._telling = self._loop.create_task(self._tell())

    async def stop(self) -> None:
        """Tell what is left, but not for long."""
        if self._telling is None:
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(self._told.wait(), STOP_S if self._broker.unavailable_reason is None else 0)
        self._telling.cancel()
        await asyncio.gather(self._telling, return_exceptions=True)

    def did(self, action: AuditAction, *, batch: str, owner: str, by: str, origin: str) -> None:
        """Somebody did something with a batch."""
        number = f"{action}-{secrets.token_hex(16)}"
        self._note(AuditEntry(id=number, at=time.time(), action=action, owner=owner, by=by, origin=origin, batch=batch))

    def key_changed(self, action: AuditAction, key: ApiKey) -> None:
        """A key came or went. Every gateway tells of it, and it is recorded once."""
        at = key.created_at if action == "key made" else time.time()
        number = f"{action.replace(' ', '-')}-{key.sha256[:40]}"
        self._note(AuditEntry(id=number, at=at, action=action, owner=key.owner, origin=KEY_FILE, detail=key.name))

    def _note(self, entry: AuditEntry) -> None:
        log.info("audit: %s", entry.action, extra=entry.model_dump(exclude={"v", "id", "action", "at"}))
        self._waiting.append(entry)
        self._told.clear()
        self._some.set()

    async def _tell(self) -> None:
        while True:
            await self._some.wait()
            self._some.clear()
            while self._waiting:
                entry = self._waiting[0]
                try:
                    await self._broker.publish(AUDIT, entry.to_bytes(), self._timeout_s, {OWNER_HEADER: DEFAULT_OWNER})
                except Unavailable as error:  # the broker is away, or a coordinator of an earlier build has no queue
                    log.debug("the audit trail waits: %s", error)
                    await asyncio.sleep(RETRY_S)
                    continue
                if self._waiting and self._waiting[0] is entry:
                    self._waiting.popleft()
            self._told.set()
