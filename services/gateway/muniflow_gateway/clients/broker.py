"""RabbitMQ for an asyncio program: a transport on a loop of its own, in one thread."""

import asyncio
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from pydantic import ValidationError

from muniflow.errors import Unavailable
from muniflow.model.messages import Notice
from muniflow.model.topology import Topology, gateway_queue
from muniflow.runtime.heartbeat import Heartbeat
from muniflow.runtime.loop import new_loop
from muniflow.runtime.settings import BrokerSettings
from muniflow.transport.rabbitmq import RabbitTransport
from muniflow.transport.types import Delivery, OutgoingMessage, PublishProblem
from muniflow_gateway.metrics import GatewayMetrics
from muniflow_gateway.problems import Problem

STOP_S = 8.0
NOTICES_PREFETCH = 256
RETRY_BLOCKED_S = 10.0

log = logging.getLogger(__name__)


@dataclass
class _Pending:
    """A publish that an asyncio task awaits."""

    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[PublishProblem | None]

    def settle(self, problem: PublishProblem | None) -> None:
        """From the broker's thread."""

        def tell() -> None:
            if not self.future.done():
                self.future.set_result(problem)

        try:
            self.loop.call_soon_threadsafe(tell)
        except RuntimeError:  # the program has ended
            log.debug("nobody waits for a confirm any more")


class Broker:
    """Publishes messages and receives notices. `start` and `stop` may block; `publish` is for asyncio."""

    def __init__(self, settings: BrokerSettings, on_notice: Callable[[Notice], None], metrics: GatewayMetrics) -> None:
        """Call `on_notice` in the broker's thread with each notice."""
        name = f"{socket.gethostname()}.{os.getpid()}"
        self._loop = new_loop()
        self._transport = RabbitTransport(settings, self._loop, f"gateway {name}")
        self._on_notice = on_notice
        self._metrics = metrics
        metrics.connected.set_function(lambda: float(self._transport.connected))
        metrics.blocked.set_function(lambda: float(self._transport.blocked is not None))
        own = gateway_queue(name)
        # Nothing else is declared here: the coordinator does that, and the gateway's user need not be allowed to.
        self._topology = Topology((), (own,))
        self._transport.consume(own.name, NOTICES_PREFETCH, self._on_delivery)
        self._thread = threading.Thread(target=self._loop.start, name="broker", daemon=True)
        self._heartbeat = Heartbeat(self._loop)

    def start(self) -> None:
        """Connect, and connect again after any trouble, until `stop`."""
        self._heartbeat.start()
        self._transport.start(self._topology, lambda: None, self._on_lost)
        self._thread.start()

    def stop(self) -> None:
        """Close."""
        if self._thread.is_alive():
            self._loop.add_callback_threadsafe(lambda: self._transport.stop(self._loop.stop))
            self._thread.join(STOP_S)

    @property
    def alive(self) -> bool:
        """Whether the thread's loop runs."""
        return self._heartbeat.alive()

    @property
    def unavailable_reason(self) -> str | None:
        """Why nothing can be published now, or `None`."""
        if not self._transport.connected:
            return self._transport.disconnect_reason or "the broker is not connected"
        if (reason := self._transport.blocked) is not None:
            return f"the broker takes no messages: {reason}"
        return None

    def require(self) -> None:
        """Refuse work that could not be published.

        Raises:
            Problem: 503.
        """
        if (trouble := self.unavailable_reason) is not None:
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, trouble, reason="broker", retry_after_s=RETRY_BLOCKED_S)

    async def publish(
        self, queue: str, body: bytes, timeout_s: float, headers: Mapping[str, str], message_id: str | None = None
    ) -> None:
        """Publish to a queue; it is durable once this returns. What answers it names `message_id`.

        Raises:
            Unavailable: it is not known to be safe. To publish it again is always right.
        """
        loop = asyncio.get_running_loop()
        pending = _Pending(loop, loop.create_future())
        message = OutgoingMessage(queue, body, headers=headers, message_id=message_id, sent_at=int(time.time()))
        began_s = time.monotonic()
        self._loop.add_callback_threadsafe(lambda: self._transport.publish([message], pending.settle))
        try:
            problem = await asyncio.wait_for(pending.future, timeout_s)
        except TimeoutError:
            raise Unavailable("the broker", self.unavailable_reason or f"no confirm within {timeout_s:g} s") from None
        if problem is not None:
            raise Unavailable("the broker", problem.reason)
        self._metrics.confirm_seconds.observe(time.monotonic() - began_s)

    def _on_lost(self, reason: str) -> None:
        self._metrics.connections_lost.inc()
        log.warning("broker lost: %s", reason)

    def _on_delivery(self, delivery: Delivery) -> None:
        self._transport.ack([delivery])
        try:
            notice = Notice.from_bytes(delivery.body)
        except ValidationError:
            return  # of a newer version, or not one of ours
        self._on_notice(notice)
