"""Tells the ends of batches to URLs: recorded before the batch is recorded as ended, sent until they are taken.

The loop only chooses and records; attempts run in threads of their own. A host has one attempt at a time, and a pause
after one that failed, so receivers that hang cost each other nothing, and the loop never waits.
"""

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from muniflow.errors import Fault
from muniflow.model.callback import read_callback
from muniflow.model.messages import Notice
from muniflow.runtime.backoff import doubling_s
from muniflow.runtime.clock import Clock
from muniflow.runtime.executor import DetachedThreads, ThreadExecutor
from muniflow.runtime.loop import Every, Loop
from muniflow_coordinator.metrics import Metrics
from muniflow_coordinator.retry_queue import RetryQueue
from muniflow_coordinator.runs.runs import Run
from muniflow_coordinator.state.webhook_types import Attempt, NewWebhook, WebhookRow, WebhookState
from muniflow_coordinator.webhooks.config import WebhookConfig
from muniflow_coordinator.webhooks.event import cloud_event, event_id
from muniflow_coordinator.webhooks.sender import SendFailure, nothing_sent
from muniflow_coordinator.webhooks.signing import signed

log = logging.getLogger(__name__)

AT_ONCE = 8
"""Attempts at the same time."""
TICK_S = 1.0
"""Pause between two looks at what is due."""
SWEEP_S = 60.0
"""Pause between two looks at what is too old."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 3600.0
"""Of one webhook, between two attempts."""
HOST_PAUSE_S, LONGEST_HOST_PAUSE_S = 1.0, 60.0
"""Of one host, after an attempt that it did not answer with 2xx."""

Send = Callable[[str, Mapping[str, str], bytes], SendFailure | None]
"""`(url, headers, body)`: see `WebhookSender.send`."""


@dataclass(frozen=True)
class Webhooks:
    """What a process gives to its couriers."""

    outbox: WebhookState
    """Where webhooks are kept: the database of the ledger."""
    config: WebhookConfig = field(default_factory=WebhookConfig)
    send: Send = nothing_sent
    kept_s: float = 30 * 86_400.0
    """How long those that were given up are kept, in seconds."""


class _Pause(NamedTuple):
    failures: int
    until_s: float


@dataclass(eq=False)
class Courier:
    """Records webhooks and sends them."""

    loop: Loop
    clock: Clock
    retry_queue: RetryQueue
    metrics: Metrics
    given: Webhooks
    state: WebhookState = field(init=False)
    config: WebhookConfig = field(init=False)
    _pool: ThreadExecutor = field(init=False)
    _busy: dict[str, int] = field(init=False, default_factory=dict)
    """Hosts with an attempt, and the number of its webhook."""
    _pauses: dict[str, _Pause] = field(init=False, default_factory=dict)
    _swept_s: float = field(init=False, default=float("-inf"))
    _looks: Every = field(init=False)

    def __post_init__(self) -> None:
        """Start no thread yet."""
        self.state, self.config = self.given.outbox, self.given.config
        # An executor that waits when it stops would let a receiver that hangs keep a leader from standing by.
        self._pool = ThreadExecutor(self.loop, DetachedThreads("webhook"))
        self._looks = Every(self.loop, TICK_S, partial(self.retry_queue.run, self._look))

    def start(self) -> None:
        """Send what waits, now and from now on; nothing at all where there are no webhooks."""
        if self.config.is_on:
            self._looks.turn()
            self._looks.start()

    def stop(self) -> None:
        """Send nothing more; what runs is not waited for."""
        self._looks.stop()
        self._pool.stop()

    def faults(self, owner: str, callback: str | None) -> tuple[Fault, ...]:
        """Return what is wrong with the `callback` of a batch."""
        return self.config.faults(owner, callback)

    def record(self, run: Run, notice: Notice) -> None:
        """Record that the end of a batch is to be told; again, it is the same webhook. In the retry queue."""
        url = self.config.url_of(run.batch.owner, run.batch.callback) if self.config.is_on else None
        if url is None:
            return
        ended_at = run.finished_at or 0.0
        event = event_id(notice, run.number, ended_at)
        target = read_callback(url)
        self.state.keep_webhook(
            NewWebhook(
                event=event,
                owner=run.batch.owner,
                batch=run.id,
                url=url,
                host=f"{target.host}:{target.port}",
                body=cloud_event(notice, event, ended_at),
                at=self.clock.now_s(),
            )
        )

    def _look(self) -> None:
        now_s = self.clock.monotonic_s()
        if now_s - self._swept_s >= SWEEP_S:
            self._swept_s = now_s
            self._sweep()
        self._send_due()

    def _sweep(self) -> None:
        now = self.clock.now_s()
        dead = self.state.bury_webhooks(now - self.config.max_age_s, now, "too_old")
        if dead:
            self.metrics.webhooks_dead.inc(dead)
            log.warning("webhooks given up: too old", extra={"webhooks": dead})
        self.state.forget_webhooks(now - self.given.kept_s)

    def _send_due(self) -> None:
        now_s = self.clock.monotonic_s()
        paused = {host for host, pause in self._pauses.items() if pause.until_s > now_s}
        while len(self._busy) < AT_ONCE and not self._looks.stopped:
            row = self.state.due_webhook(self.clock.now_s(), {*self._busy, *paused})
            if row is None:
                return
            self._busy[row.host] = row.number
            self._pool.submit(partial(self._attempt, row), partial(self._on_done, row))

    def _attempt(self, row: WebhookRow) -> SendFailure | None:
        """Sign and send. In a thread."""
        own = self.config.owners.get(row.owner)
        if own is None:
            return SendFailure("secret_missing", "its owner has no secret any more", final=True)
        body = bytes(row.body)
        return self.given.send(row.url, signed(row.event, self.clock.now_s(), body, own.keys), body)

    def _on_done(self, row: WebhookRow, done: Future[SendFailure | None]) -> None:
        self._busy.pop(row.host, None)
        try:
            failure = done.result()
        except Exception as error:
            log.exception("sending a webhook failed", extra={"batch": row.batch})
            failure = SendFailure("internal_error", f"internal error: {type(error).__name__}")
        self.retry_queue.run(partial(self._taken if failure is None else partial(self._failed, failure), row))

    def _taken(self, row: WebhookRow) -> None:
        self.state.drop_webhook(row.number)
        self._pauses.pop(row.host, None)
        self.metrics.webhooks_sent.inc()
        log.info("webhook sent", extra={"batch": row.batch, "host": row.host, "attempts": row.attempts + 1})
        self._send_due()

    def _failed(self, failure: SendFailure, row: WebhookRow) -> None:
        now = self.clock.now_s()
        attempt = Attempt(row.number, now, failure.code, failure.text)
        next_at = now + doubling_s(row.attempts + 1, FIRST_PAUSE_S, LONGEST_PAUSE_S)
        final = failure.final or next_at - row.created_at > self.config.max_age_s
        if final:
            self.state.bury_webhook(attempt)
            self.metrics.webhooks_dead.inc()
        else:
            self.state.delay_webhook(attempt, next_at)
        self.metrics.webhooks_failed.labels(failure.code).inc()
        self._pause(row.host)
        if final or not row.attempts:  # the first failure and the last
            what = "webhook given up: %s" if final else "webhook not taken, trying again: %s"
            extra = {"batch": row.batch, "host": row.host, "code": failure.code, "attempts": row.attempts + 1}
            log.warning(what, failure.text, extra=extra)
        self._send_due()

    def _pause(self, host: str) -> None:
        failures = self._pauses[host].failures + 1 if host in self._pauses else 1
        pause_s = doubling_s(failures, HOST_PAUSE_S, LONGEST_HOST_PAUSE_S)
        self._pauses[host] = _Pause(failures, self.clock.monotonic_s() + pause_s)
